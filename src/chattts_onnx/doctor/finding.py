"""What the doctor found: one thing, its state, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    state: str
    """``ok``; ``note``: speech works, but better or more is to be had; ``fix``: speech does not work like this."""
    what: str
    detail: str
    remedy: str = ""
    """What to do; empty where there is nothing to do."""
