"""The recipe that trains `mini`: corpus, codec, GPT, vocoder, export (development only, needs PyTorch)."""

import sys
from pathlib import Path

# The package of this checkout, which need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
