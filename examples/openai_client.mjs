// Speech with OpenAI's own npm client: only the address is another.
//
//     npm install openai
//     node examples/openai_client.mjs
import { writeFile } from "node:fs/promises";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: (process.env.CHATTTS_URL ?? "http://127.0.0.1:8000") + "/v1", apiKey: "none", maxRetries: 0 });

const reply = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "你好，世界。Hello, world.", response_format: "wav", seed: 7 });
const sound = Buffer.from(await reply.arrayBuffer());
await writeFile("hello.wav", sound);
console.log(`${sound.length} bytes, ${sound.subarray(0, 4)}`);

try {
  await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "too fast", speed: 9 });
  process.exit(1);
} catch (error) {
  console.log(`${error.constructor.name}: ${error.status} ${error.param}`);
}
