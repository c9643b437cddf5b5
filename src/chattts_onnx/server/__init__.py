"""HTTP: knows requests and JSON, and asks one façade for speech.

Importing this package imports neither FastAPI nor ONNX Runtime, so that the command line can offer ``serve`` and
``wyoming`` without their extras; `run` imports what it needs and names the extra that is missing.
"""

from __future__ import annotations

from chattts_onnx.server.command import add_arguments, run

__all__ = ["add_arguments", "run"]
