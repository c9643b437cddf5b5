#!/bin/sh
# Speech with nothing but curl.
set -eu
url=${CHATTTS_URL:-http://127.0.0.1:8000}

for format in mp3 opus aac flac wav pcm; do
  curl -fsS "$url/v1/audio/speech" -H 'Content-Type: application/json' \
    -d "{\"model\": \"tts-1\", \"voice\": \"alloy\", \"input\": \"你好。\", \"response_format\": \"$format\"}" -o "hello.$format"
done

# As server-sent events, with the moment each segment begins.
curl -fsSN "$url/v1/audio/speech" -H 'Content-Type: application/json' \
  -d '{"input": "First. Second.", "response_format": "pcm", "stream_format": "sse", "timestamps": "segment"}' | cut -c -100

curl -fsS "$url/v1/audio/voices" | cut -c -300
echo

# The original route: text in, 16 kHz WAV out.
curl -fsS "$url/tts" --data-urlencode 'text=你好，世界。' -o tts.wav
ls -l hello.* tts.wav
