# ruff: noqa: INP001 - a script
"""Speech with OpenAI's own client: only the address is another.

pip install openai
python examples/openai_client.py
"""

from __future__ import annotations

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("CHATTTS_URL", "http://127.0.0.1:8000") + "/v1", api_key="none")

# A file.
reply = client.audio.speech.create(
    model="tts-1", voice="alloy", input="你好，世界。Hello, world.", response_format="wav"
)
reply.write_to_file("hello.wav")

# A stream, written as it comes; fields that OpenAI does not have go into extra_body.
with client.audio.speech.with_streaming_response.create(
    model="tts-1",
    voice="alloy",
    input="The first words are heard before the last are made.",
    instructions="casual, with long pauses",
    extra_body={"seed": 7, "temperature": 0.3},
) as stream:
    stream.stream_to_file("stream.mp3")
