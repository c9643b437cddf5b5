"""The recipe that trains `mini`: corpus, codec, GPT, vocoder, export (development only, needs PyTorch)."""
