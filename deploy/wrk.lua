-- wrk -t4 -c100 -d30s -s deploy/wrk.lua http://127.0.0.1:8000
wrk.method = "POST"
wrk.path = "/v1/audio/speech"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model": "tts-1", "voice": "alloy", "input": "你好，世界。", "response_format": "wav", "seed": 1}'
