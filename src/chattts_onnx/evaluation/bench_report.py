"""A benchmark's report as tables and as a picture."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from chattts_onnx.evaluation.picture import Line, Panel, draw
from chattts_onnx.evaluation.report import environment_line, table

_BATCHINGS = {
    "padded": "static, padded to the longest",
    "static": "static, rows leave as they end",
    "continuous": "continuous",
}


def environment_text(report: Dict[str, Any]) -> str:
    """The header: where and how this was measured."""
    settings = report["settings"]
    text = environment_line(report["environment"])
    text += (
        f"\nthreads {settings['threads']}, device {settings['device']}, seed {settings['seed']}, medians of "
        f"{settings['rounds']} rounds measured in turns, {settings['clock']} clock"
    )
    for subject in report["subjects"].values():
        versions = subject["open"].get("versions")
        if versions:
            text += "\nreference: " + ", ".join(f"{name} {version}" for name, version in versions.items())
    return text


def tables(report: Dict[str, Any]) -> str:
    """All sections that were measured, in Markdown."""
    sections = (_memory, _steps, _limits, _requests, _speech, _arrivals, _parts, _operators)
    return "\n".join(text for text in (section(report) for section in sections) if text)


def picture(report: Dict[str, Any]) -> str:
    """Latency and throughput over batch size as SVG."""
    settings = report["settings"]
    latency: List[Line] = []
    throughput: List[Line] = []
    steps: List[Line] = []
    for label, subject in report["subjects"].items():
        if "requests" in subject:
            points = {int(batch): values for batch, values in subject["requests"].items()}
            latency.append(Line(label, [(x, 1000 * points[x]["mean_latency"]) for x in sorted(points)]))
            throughput.append(Line(label, [(x, points[x]["requests_per_second"]) for x in sorted(points)]))
        if "steps" in subject:
            rates = {int(batch): values["median"] for batch, values in subject["steps"].items()}
            steps.append(Line(label, [(x, x * rates[x]) for x in sorted(rates)]))
    size = f"{settings['input_tokens']} tokens in, {settings['request_steps']} steps out"
    panels = []
    if latency:
        panels.append(Panel(f"Latency ({size})", "batch", "ms, mean", latency))
        panels.append(Panel(f"Throughput ({size})", "batch", "requests per second", throughput))
    if steps:
        panels.append(Panel("Decoding", "batch", "tokens per second", steps))
    return draw(panels, environment_line(report["environment"]))


def _memory(report: Dict[str, Any]) -> str:
    rows = []
    for label, subject in report["subjects"].items():
        opened = subject["open"]
        memory = report["memory"].get(label, {})
        peak = memory.get("peak_bytes") or subject.get("peak_bytes")
        rows.append(
            [
                label,
                _megabytes(opened.get("disk_bytes")),
                f"{opened['import_seconds']:.2f}",
                f"{memory.get('load_seconds', opened['load_seconds']):.2f}",
                _megabytes(peak),
            ]
        )
    header = ["model", "MB on disk", "imports s", "load s", "peak MB, one utterance"]
    return "\n## Size, load, memory\n\n" + table(header, rows)


def _steps(report: Dict[str, Any]) -> str:
    subjects = {label: subject["steps"] for label, subject in report["subjects"].items() if "steps" in subject}
    if not subjects:
        return ""
    batches = report["settings"]["batches"]
    reference = next((steps for label, steps in subjects.items() if label.startswith("reference")), None)
    rows = []
    for label, steps in subjects.items():
        cells = []
        for batch in batches:
            rate = steps[str(batch)]["median"]
            cell = f"{rate:.1f} / {batch * rate:.0f}"
            if reference is not None and steps is not reference:
                cell += f" ({rate / reference[str(batch)]['median']:.1f}x)"
            cells.append(cell)
        real_time = report["subjects"][label]["open"]["tokens_per_second"]
        speed = steps[str(batches[0])]["median"] / real_time
        rows.append([label, *cells, f"{speed:.2f}"])
    header = ["model", *(f"batch {batch}" for batch in batches), f"x real time, batch {batches[0]}"]
    note = (
        f"context {report['settings']['context']}; in brackets: times the reference"
        if reference
        else (f"context {report['settings']['context']}")
    )
    return f"\n## Decoding: steps/s / tokens/s ({note})\n\n" + table(header, rows)


def _limits(report: Dict[str, Any]) -> str:
    rows = []
    batches = report["settings"]["batches"]
    for label, subject in report["subjects"].items():
        limits, steps = subject.get("limits"), subject.get("steps")
        if limits is None or steps is None:
            continue
        rates = {batch: steps[str(batch)]["median"] for batch in (batches[0], batches[-1])}
        low, high = batches[0], batches[-1]
        moved = limits["weight_bytes"] + low * limits["cache_bytes_per_row"]
        operations = 2 * high * limits["multiplications_per_row"] * rates[high]
        integer = limits["int8_operations_per_second"]
        read = steps[str(low)]["read_bytes_per_second"]
        rows.append(
            [
                label,
                f"{limits['weight_bytes'] / 1e6:.0f}",
                f"{read / 1e9:.1f}",
                f"{100 * rates[low] * moved / read:.0f} %",
                f"{limits['float_operations_per_second'] / 1e9:.0f}",
                f"{integer / 1e9:.0f}" if integer else "",
                f"{100 * operations / limits['float_operations_per_second']:.0f} %",
                f"{100 * operations / integer:.0f} %" if integer else "",
            ]
        )
    if not rows:
        return ""
    header = [
        "model",
        "weight MB per step",
        "read GB/s",
        f"of bandwidth limit, batch {batches[0]}",
        "float32 GFLOP/s",
        "int8 GOP/s",
        f"of float32 limit, batch {batches[-1]}",
        f"of int8 limit, batch {batches[-1]}",
    ]
    return "\n## Against the machine's limits\n\n" + table(header, rows)


def _requests(report: Dict[str, Any]) -> str:
    settings = report["settings"]
    rows = []
    for label, subject in report["subjects"].items():
        for batch, values in subject.get("requests", {}).items():
            rows.append(
                [
                    label,
                    batch,
                    f"{1000 * values['mean_latency']:.0f}",
                    f"{1000 * values['p50_latency']:.0f}",
                    f"{values['requests_per_second']:.2f}",
                ]
            )
    if not rows:
        return ""
    size = f"{settings['input_tokens']} tokens in, {settings['request_steps']} steps and their sound out"
    return f"\n## Requests: {size}\n\n" + table(["model", "batch", "mean ms", "P50 ms", "requests/s"], rows)


def _speech(report: Dict[str, Any]) -> str:
    rows = []
    for label, subject in report["subjects"].items():
        for batch, values in subject.get("speech", {}).items():
            rows.append(
                [
                    label,
                    batch,
                    f"{values['audio_seconds_per_second']:.2f}",
                    f"{values['real_time_factor']:.2f}",
                    f"{values['first_audio_median']:.2f}",
                    f"{values['first_audio_worst']:.2f}",
                ]
            )
    if not rows:
        return ""
    header = ["model", "callers", "audio s per s", "RTF of a caller", "first audio s, median", "worst"]
    return "\n## Whole chain: text to streamed sound\n\n" + table(header, rows)


def _arrivals(report: Dict[str, Any]) -> str:
    rows = []
    for label, subject in report["subjects"].items():
        entry: Optional[Dict[str, Any]] = subject.get("arrivals")
        if entry is None:
            continue
        for name, description in _BATCHINGS.items():
            values = entry[name]
            gain = entry["padded"]["mean"] / values["mean"]
            rows.append(
                [
                    label,
                    description,
                    f"{entry['offered']:.2f}",
                    *(f"{values[key]:.2f}" for key in ("mean", "p50", "p95")),
                    f"{gain:.2f}x",
                ]
            )
    if not rows:
        return ""
    settings = report["settings"]
    low, middle, high = settings["arriving_steps"]
    title = (
        f"\n## Arriving requests: Poisson at {100 * settings['load']:.0f} % of what padded batches of "
        f"{max(settings['batches'])} can do, {settings['requests']} requests of {low} to {high} steps, mostly about "
        f"{middle}\n\n"
    )
    return title + table(["model", "batching", "requests/s", "mean s", "P50 s", "P95 s", "better by"], rows)


def _parts(report: Dict[str, Any]) -> str:
    subjects = {label: subject["parts"] for label, subject in report["subjects"].items() if "parts" in subject}
    if not subjects:
        return ""
    names = list(next(iter(subjects.values()))["seconds"])
    rows = []
    for label, parts in subjects.items():
        total = sum(seconds for name, seconds in parts["seconds"].items() if not name.startswith("of which"))
        rows.append([label, *(f"{1000 * parts['seconds'][name]:.1f}" for name in names), f"{1000 * total:.0f}"])
    seconds = next(iter(subjects.values()))["audio_seconds"]
    return f"\n## Where the time goes: ms for {seconds:.1f} s of sound, batch 1\n\n" + table(
        ["model", *names, "sum"], rows
    )


def _operators(report: Dict[str, Any]) -> str:
    rows = []
    for label, subject in report["subjects"].items():
        for batch, seconds in subject.get("operators", {}).items():
            total = sum(seconds.values())
            shares = [f"{name} {100 * value / total:.0f} %" for name, value in list(seconds.items())[:6]]
            rows.append([label, batch, f"{1000 * total:.1f}", ", ".join(shares)])
    if not rows:
        return ""
    return "\n## Inside a step, by ONNX Runtime's profiler\n\n" + table(["model", "batch", "ms", "share"], rows)


def _megabytes(size: Optional[float]) -> str:
    return "" if size is None else f"{size / 1e6:.0f}"
