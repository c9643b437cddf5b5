"""``python -m chattts_onnx`` is the command ``chattts``, for where scripts are not on the path."""

import sys

from chattts_onnx.cli import main

if __name__ == "__main__":
    sys.exit(main())
