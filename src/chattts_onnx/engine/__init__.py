"""The engine room: prompts in, codes and hidden states out. It knows ids, arrays and time; no text, no sound."""

from chattts_onnx.engine.engine import Engine
from chattts_onnx.engine.generation import Generation
from chattts_onnx.engine.sequence import FinishReason, Prompt, SamplingParams, StepOutput
from chattts_onnx.engine.stats import EngineStats
from chattts_onnx.engine.worker import EngineWorker

__all__ = [
    "Engine",
    "EngineStats",
    "EngineWorker",
    "FinishReason",
    "Generation",
    "Prompt",
    "SamplingParams",
    "StepOutput",
]
