"""What an engine counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EngineStats:
    """A snapshot of the engine; counters grow from the start, gauges are of now."""

    running: int = 0
    """Sequences with a row."""
    waiting: int = 0
    """Requests without one."""
    batch_size: int = 0
    """Rows of the last decode step."""
    steps: int = 0
    """Steps taken."""
    tokens: int = 0
    """Steps of sequences drawn, ends not included: what becomes sound (or text)."""
    prompt_tokens: int = 0
    """Prompt tokens read."""
    finished: int = 0
    aborted: int = 0
    failed: int = 0
    kv_rows: int = 0
    """Cache rows there is memory for."""
    kv_rows_used: int = 0
    kv_tokens_used: int = 0
    """Slots filled."""
    kv_bytes: int = 0
    """Bytes allocated for the cache."""
    prefill_seconds: float = 0.0
    """Time in prompts, of all steps."""
    decode_seconds: float = 0.0
    """Time in decode steps."""
    sampling_seconds: float = 0.0
    """Time in sampling."""
    step_seconds: float = 0.0
    """Time in `Engine.step`, the three above included."""
    last_step_seconds: float = 0.0
