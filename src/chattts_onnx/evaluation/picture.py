"""A small chart of lines as SVG text, so that a benchmark needs no plotting package."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import List, Sequence, Tuple

COLOURS = ("#0b6bcb", "#d1490c", "#1f7a1f", "#7d3cb5", "#8a6d00", "#444444")
_WIDTH, _HEIGHT = 420, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 40, 46


@dataclass(frozen=True)
class Line:
    """One series: points (x, y), x ascending."""

    label: str
    points: Sequence[Tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One pair of axes; x positions are spread evenly, as batch sizes double."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]


def draw(panels: Sequence[Panel], caption: str = "") -> str:
    """Panels side by side with one legend, as an SVG document."""
    labels: List[str] = []
    for panel in panels:
        labels.extend(line.label for line in panel.lines if line.label not in labels)
    colour = {label: COLOURS[position % len(COLOURS)] for position, label in enumerate(labels)}
    height = _HEIGHT + 24 * ((len(labels) + 3) // 4) + (22 if caption else 0)
    width = _WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        '<g font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for position, panel in enumerate(panels):
        parts.append(f'<g transform="translate({position * _WIDTH},0)">')
        parts.extend(_panel(panel, colour))
        parts.append("</g>")
    for position, label in enumerate(labels):
        x, y = 20 + (position % 4) * width / 4, _HEIGHT + 16 + 24 * (position // 4)
        parts.append(f'<circle cx="{x:.0f}" cy="{y - 4:.0f}" r="5" fill="{colour[label]}"/>')
        parts.append(f'<text x="{x + 12:.0f}" y="{y:.0f}">{escape(label)}</text>')
    if caption:
        parts.append(f'<text x="12" y="{height - 8}" font-size="10" fill="#555">{escape(caption)}</text>')
    return "\n".join([*parts, "</g></svg>", ""])


def ticks(top: float, count: int = 5) -> List[float]:
    """Round values from 0 to at least ``top``."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)
    return [step * position for position in range(math.ceil(top / step * 0.999) + 1)]


def _panel(panel: Panel, colour: dict[str, str]) -> List[str]:
    xs = sorted({x for line in panel.lines for x, _ in line.points})
    marks = ticks(max((y for line in panel.lines for _, y in line.points), default=1.0))
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> Tuple[float, float]:
        fraction = (xs.index(x) + 0.5) / len(xs)
        return _LEFT + fraction * inner_width, _TOP + inner_height * (1 - y / marks[-1])

    parts = [f'<text x="{_LEFT}" y="22" font-size="14" font-weight="bold">{escape(panel.title)}</text>']
    for mark in marks:
        y = _TOP + inner_height * (1 - mark / marks[-1])
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:g}</text>')
    for x in xs:
        left, _ = place(x, 0)
        parts.append(f'<text x="{left:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
    middle = _TOP + inner_height / 2
    parts.append(
        f'<text x="{_LEFT + inner_width / 2}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(panel.x_label)}</text>'
    )
    parts.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
        f"{escape(panel.y_label)}</text>"
    )
    for line in panel.lines:
        points = [place(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour[line.label]}" stroke-width="2"/>')
        parts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour[line.label]}"/>' for x, y in points)
    return parts
