# ruff: noqa: INP001, T201 - a script
"""Text in scraps, as a language model writes it; sound out, sentence by sentence, into one WAV.

pip install websockets
python examples/websocket_client.py
"""

from __future__ import annotations

import asyncio
import json
import os
import wave

import websockets

URL = os.environ.get("CHATTTS_URL", "http://127.0.0.1:8000").replace("http", "ws", 1) + "/v1/audio/speech/stream"
SCRAPS = ["Hel", "lo! This", " text comes in", " scraps. And ", "still it is", " spoken at once. ", "再见", "。"]


async def main() -> None:
    """Send the scraps, keep the sound."""
    sound = bytearray()
    rate = 24_000
    async with websockets.connect(URL) as socket:
        await socket.send(json.dumps({"type": "session.config", "voice": "alloy", "response_format": "pcm"}))

        async def write() -> None:
            for scrap in SCRAPS:
                await socket.send(json.dumps({"type": "input.text", "text": scrap}))
                await asyncio.sleep(0.1)
            await socket.send(json.dumps({"type": "input.done"}))

        writing = asyncio.ensure_future(write())
        async for message in socket:
            if isinstance(message, bytes):
                sound += message
                continue
            event = json.loads(message)
            if event["type"] == "audio.start":
                rate = event["sample_rate"]
                print("speaking:", event["sentence_text"].strip())
            elif event["type"] == "error":
                print("error:", event["message"])
            elif event["type"] == "session.done":
                break
        await writing
    with wave.open("session.wav", "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(sound))
    print(f"{len(sound) / 2 / rate:.1f} s in session.wav")


asyncio.run(main())
