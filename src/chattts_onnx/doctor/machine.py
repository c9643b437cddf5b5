"""The machine under the installation: interpreter, C library, processor, cores, memory, encoding."""

from __future__ import annotations

import locale
import os
import platform
import struct
import sys
from pathlib import Path
from typing import List, Optional, Sequence, Set, Tuple

from chattts_onnx.doctor.finding import Finding

OLDEST_GLIBC = (2, 27)
"""What the ONNX Runtime wheels are built for: Ubuntu 18.04, Debian 10."""
_SMALL_MEMORY = 2 << 30

_CPU_NOTES = (
    ("avx512_vnni", "int8 runs at full speed"),
    ("avx_vnni", "int8 runs at full speed"),
    ("asimddp", "int8 runs at full speed"),
    ("avx2", "int8 and int4 run well"),
    ("asimd", "int8 runs, slower than with the dot-product extension"),
)


def check_python() -> Sequence[Finding]:
    """The interpreter."""
    version = platform.python_version()
    what = f"{platform.python_implementation()} {version}, {platform.machine()}, {platform.platform(terse=True)}"
    if struct.calcsize("P") < 8:
        return [
            Finding("fix", "python", f"{what}, 32 bits", "install a 64-bit Python: ONNX Runtime has no 32-bit wheels")
        ]
    if platform.python_implementation() != "CPython":
        return [Finding("note", "python", what, "only CPython is tested")]
    return [Finding("ok", "python", what)]


def check_libc() -> Sequence[Finding]:
    """The C library, which decides what wheels can be installed on Linux."""
    if not sys.platform.startswith("linux"):
        return []
    name, version = platform.libc_ver()
    return judge_libc(name, version, sys.version_info[:2])


def judge_libc(name: str, version: str, python: Tuple[int, ...]) -> Sequence[Finding]:
    """Findings for a C library of that name and version."""
    if name != "glibc":
        return [
            Finding(
                "fix",
                "libc",
                f"{name or 'not glibc'} {version}".strip(),
                "use a glibc system (Debian, Ubuntu, Fedora): ONNX Runtime has no wheels for musl (Alpine)",
            )
        ]
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_GLIBC:
        remedy = "use Ubuntu 18.04, Debian 10 or newer, or a container of one: the ONNX Runtime wheels need glibc 2.27"
        return [Finding("fix", "libc", f"glibc {version}", remedy)]
    if numbers < (2, 28) or (numbers < (2, 31) and python < (3, 9)):
        remedy = (
            "Ubuntu 18.04 class: use Python 3.8 to 3.10 with onnxruntime 1.19.2, pip 20.3 or newer, and for FLAC and "
            "voice cloning `apt install libsndfile1`, as the soundfile wheels here carry no library of their own"
        )
        return [Finding("note", "libc", f"glibc {version}", remedy)]
    return [Finding("ok", "libc", f"glibc {version}")]


def check_cpu() -> Sequence[Finding]:
    """The processor's vector instructions."""
    flags = cpu_flags()
    if flags is None:
        return [Finding("ok", "cpu", platform.processor() or platform.machine())]
    found = [
        name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm") if name in flags
    ]
    for name, meaning in _CPU_NOTES:
        if name in flags:
            return [Finding("ok", "cpu", f"{', '.join(found)}: {meaning}")]
    return [
        Finding("note", "cpu", "neither AVX2 nor NEON: speech will be slow", "try --precision int8 and a short text")
    ]


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> Optional[Set[str]]:
    """Names of instruction sets as Linux gives them; None where it cannot be told."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return set(values.split())
    return None


def check_cores() -> Sequence[Finding]:
    """Cores, and how many of them may be used."""
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    quota = cpu_quota()
    detail = f"{total} logical"
    findings: List[Finding] = []
    if usable < total:
        detail += f", {usable} allowed"
    if quota is not None and quota < usable:
        detail += f", limited to {quota:g} by the container"
        remedy = f"give --threads {max(1, int(quota))}: more threads than that only wait for each other"
        findings.append(Finding("note", "cores", detail, remedy))
    else:
        findings.append(Finding("ok", "cores", detail))
    return findings


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> Optional[float]:
    """Cores that the container may use, by its cgroup; None: no limit."""
    try:
        limit, period = (root / "cpu.max").read_text(encoding="ascii").split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota = int((root / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii"))
        span = int((root / "cpu/cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return quota / span if quota > 0 else None


def check_memory() -> Sequence[Finding]:
    """Memory that is free, and the container's limit."""
    available = available_memory()
    if available is None:
        return []
    detail = f"{available / (1 << 30):.1f} GiB available"
    if available < _SMALL_MEMORY:
        return [Finding("note", "memory", detail, "the full model wants int8 or int4 here; mini is at home")]
    return [Finding("ok", "memory", detail)]


def available_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> Optional[int]:
    """Bytes that a program may still take; None where it cannot be told."""
    if sys.platform == "win32":
        return _windows_memory()
    free: Optional[int] = None
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except (OSError, ValueError):
        try:
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):
            return None
    try:
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        left = limit - int((cgroup / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free
    return left if free is None else min(free, left)


def check_text_encoding() -> Sequence[Finding]:
    """What the terminal and files are written in."""
    encoding = locale.getpreferredencoding(do_setlocale=False)
    if encoding.lower().replace("-", "") in {"utf8", "cp65001"}:
        return [Finding("ok", "encoding", encoding)]
    remedy = "set PYTHONUTF8=1 (Windows) or LANG=C.UTF-8: chattts itself always reads and writes UTF-8"
    return [Finding("note", "encoding", encoding, remedy)]


def _windows_memory() -> Optional[int]:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "_3", "_4", "_5", "_6", "_7")),
        )

    status = Status(length=ctypes.sizeof(Status))
    windll = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.available)
