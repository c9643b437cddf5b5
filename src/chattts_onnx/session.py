"""The only maker of ``InferenceSession``: one place that knows threads, devices and memory settings.

Every graph of the package is opened here, so that a setting that was measured once (no arena that keeps the largest
shape for ever, threads from the cores this process may really use) holds everywhere, and so that a damaged file or a
missing execution provider becomes one line that says what to do instead of a native stack trace.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from chattts_onnx.errors import InputError, MissingExtraError, ModelFormatError, ModelNotFoundError

if TYPE_CHECKING:
    import onnxruntime

_log = logging.getLogger(__name__)

MAX_DEFAULT_THREADS = 8
SPIN_MICROSECONDS = 200
"""How long a thread of a decode step stays awake for the next parallel section: longer than what lies between two of
them, and too short to keep a core from vocoder and server. Figures in docs/load.md."""
_BOUNDED_SPINNING = "1.26.0"
"""The first ONNX Runtime that takes a bound (microsoft/onnxruntime#27916); before, a spin is milliseconds long."""
CROWDED_CORES = 2
"""So few that an unbounded spin takes from vocoder and server what the step gains (docs/load.md)."""
DEVICES = ("cpu", "cuda", "tensorrt", "directml", "coreml", "openvino", "auto")
_CPU = "CPUExecutionProvider"
_PROVIDERS: Mapping[str, Sequence[str]] = {
    "cpu": (_CPU,),
    "cuda": ("CUDAExecutionProvider", _CPU),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", _CPU),
    "directml": ("DmlExecutionProvider", _CPU),
    "coreml": ("CoreMLExecutionProvider", _CPU),
    "openvino": ("OpenVINOExecutionProvider", _CPU),
}
# What to install instead of the plain onnxruntime; the packages replace each other.
_PACKAGES: Mapping[str, str] = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "directml": "onnxruntime-directml",
    "coreml": "onnxruntime",
    "openvino": "onnxruntime-openvino",
}
_HALF = ("CUDAExecutionProvider", "TensorrtExecutionProvider", "DmlExecutionProvider")
# Devices whose gain does not depend on static shapes; the others are taken only when named.
_AUTO = ("cuda", "directml")


def create_session(
    path: Union[str, Path],
    *,
    device: str = "cpu",
    threads: Optional[int] = None,
    profile: Optional[Union[str, Path]] = None,
    min_onnxruntime: Optional[str] = None,
    arena: bool = False,
    spinning: bool = False,
) -> onnxruntime.InferenceSession:
    """Open one graph.

    Args:
        path: The ``.onnx`` file; its external data lies beside it.
        device: One of `DEVICES`; ``cuda:1`` names the second GPU.
        threads: Intra-op threads; None: `default_threads`.
        profile: Prefix of the file that ONNX Runtime's own profiler writes when the session ends.
        min_onnxruntime: The oldest ONNX Runtime that can run the graph (``Manifest.min_onnxruntime``).
        arena: See `session_options`.
        spinning: See `session_options`.

    Raises:
        InputError: the device is unknown, or its provider is not installed.
        ModelFormatError: the file is damaged, or needs a newer ONNX Runtime.
        ModelNotFoundError: there is no such file.
    """
    import onnxruntime

    if min_onnxruntime is not None:
        require_runtime(min_onnxruntime)
    path = Path(path)
    if not path.is_file():
        raise ModelNotFoundError(f"{path} is missing: convert or pull the model again")
    providers = resolve_providers(device, onnxruntime.get_available_providers())
    with_options = _with_options(providers, device)
    options = session_options(threads=threads, profile=profile, arena=arena, spinning=spinning)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=with_options)
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime raises a class of its own per status code, all plain Exceptions.
        reason = " ".join(str(error).split())[:300]
        raise ModelFormatError(f"{path} cannot be loaded ({reason}): convert or pull the model again") from error
    if session.get_providers()[0] != providers[0]:
        # ONNX Runtime falls back by itself when a provider's libraries are absent; silence would cost 20x the time.
        raise InputError(
            f"device {device!r}: {providers[0]} is installed but could not start (driver or CUDA libraries missing): "
            f"fix the installation or use device 'cpu'"
        )
    return session


def session_options(
    *,
    threads: Optional[int] = None,
    profile: Optional[Union[str, Path]] = None,
    arena: bool = False,
    spinning: bool = False,
) -> onnxruntime.SessionOptions:
    """The settings of every session.

    Args:
        threads: Intra-op threads; None: `default_threads`.
        profile: Prefix of the profiler's file.
        arena: Off by default, as memory patterns are: both keep the largest shape ever seen, and windows of sound come
            in many shapes. A graph with GroupQueryAttention needs it: the kernel of ONNX Runtime 1.19 reads the packed
            projections after it has freed them, which only an arena leaves intact.
        spinning: Whether threads spin while they wait for work. Off by default, for they would take the cores from the
            next decode step; on for the decode step itself, which is some hundred short parallel sections, for
            `SPIN_MICROSECONDS` at a time. Where ONNX Runtime knows no bound they spin only where there are more than
            `CROWDED_CORES`, and stop with the step: what is left of a core between two steps belongs to the vocoder.

    Raises:
        InputError: ``threads`` is not positive.
    """
    import onnxruntime

    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}: leave it out for the physical cores")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = arena
    bounded = spinning and _version(onnxruntime.__version__) >= _version(_BOUNDED_SPINNING)
    spins = bounded or (spinning and usable_cores() > CROWDED_CORES)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    if bounded:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_MICROSECONDS))
    elif spins:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # what fails is raised too, and warnings name nodes that no user can change
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return options


def default_threads() -> int:
    """`usable_cores`, at most `MAX_DEFAULT_THREADS`: more threads than cores wait for each other."""
    return min(usable_cores(), MAX_DEFAULT_THREADS)


def usable_cores() -> int:
    """Physical cores that this process may use, within the affinity mask and the container's CPU quota."""
    try:
        allowed = set(os.sched_getaffinity(0))
    except AttributeError:  # not on Windows and macOS
        allowed = set(range(os.cpu_count() or 1))
    cores = len({_siblings(cpu) for cpu in allowed})
    quota = _cpu_quota()
    if quota is not None:
        cores = min(cores, max(1, round(quota)))
    return max(1, cores)


def resolve_providers(device: str, available: Sequence[str]) -> List[str]:
    """Execution providers for ``device``, the first being the device itself, the CPU last as fallback.

    Args:
        device: One of `DEVICES`, optionally with an index (``cuda:1``).
        available: What the installed ONNX Runtime offers (``onnxruntime.get_available_providers()``).

    Raises:
        InputError: unknown device, or its provider is not installed: the message names the package.
        MissingExtraError: a GPU build of ONNX Runtime is needed.
    """
    kind = device.split(":", maxsplit=1)[0]
    if kind == "auto":
        kind = next((name for name in _AUTO if _PROVIDERS[name][0] in available), "cpu")
    if kind not in _PROVIDERS:
        raise InputError(f"unknown device {device!r}: use one of {', '.join(DEVICES)}")
    wanted = _PROVIDERS[kind]
    if wanted[0] not in available:
        purpose = f"device {kind!r} ({wanted[0]}; here: {', '.join(available)})"
        if _PACKAGES[kind] == "onnxruntime-gpu":
            raise MissingExtraError("onnxruntime-gpu", "gpu", purpose)
        if kind == "coreml":
            raise InputError(f"{purpose} exists on macOS only: use device 'cpu' or 'auto'")
        package = _PACKAGES[kind]
        raise InputError(f"{purpose} needs the package {package!r}: pip uninstall onnxruntime; pip install {package}")
    return [name for name in wanted if name in available]


def computes_half(device: str) -> bool:
    """Whether the device computes in float16 itself, as GPUs do; False for what is unknown or not installed."""
    import onnxruntime

    try:
        first = resolve_providers(device, onnxruntime.get_available_providers())[0]
    except (InputError, MissingExtraError):
        return False
    return first in _HALF


def require_runtime(minimum: str) -> None:
    """Check the installed ONNX Runtime.

    Raises:
        ModelFormatError: it is older than ``minimum``.
    """
    import onnxruntime

    if _version(onnxruntime.__version__) < _version(minimum):
        raise ModelFormatError(
            f"this model needs onnxruntime {minimum} or newer and {onnxruntime.__version__} is installed: "
            f"pip install -U onnxruntime, or convert the model with --precision fp32"
        )


def warn_if_slow(precision: str, device: str) -> None:
    """Log a warning where the precision does not suit the device: float16 on the CPU is emulated."""
    if precision == "fp16" and device == "cpu":
        _log.warning("fp16 is for GPUs: on the CPU it is slower than fp32; convert with --precision int8 instead")


class Recorder:
    """Keeps the feeds that graphs were run with, to calibrate static quantisation from (`.npz`).

    `wrap` records every ``run`` of a session; a caller that binds its buffers itself (the engine) calls `record` with
    the whole sequence instead.
    """

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        """Most feeds kept of one graph; the later ones are dropped."""
        self._feeds: Dict[str, List[Dict[str, np.ndarray[Any, Any]]]] = {}

    def __len__(self) -> int:
        return sum(len(feeds) for feeds in self._feeds.values())

    def record(self, role: str, feeds: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Keep a copy of one set of inputs of the graph ``role``."""
        kept = self._feeds.setdefault(role, [])
        if len(kept) < self.limit:
            kept.append({name: np.array(value) for name, value in feeds.items()})

    def wrap(self, role: str, session: onnxruntime.InferenceSession) -> RecordingSession:
        """A session that records its feeds and otherwise behaves as ``session``."""
        return RecordingSession(self, role, session)

    def save(self, path: Union[str, Path]) -> None:
        """Write all feeds, named ``role/index/input``."""
        arrays = {
            f"{role}/{index}/{name}": value
            for role, kept in self._feeds.items()
            for index, feeds in enumerate(kept)
            for name, value in feeds.items()
        }
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type, unused-ignore]

    @staticmethod
    def load(path: Union[str, Path]) -> Dict[str, List[Dict[str, np.ndarray[Any, Any]]]]:
        """Read what `save` wrote: role to the list of its feeds.

        Raises:
            InputError: the file is not one of ours.
        """
        feeds: Dict[str, Dict[int, Dict[str, np.ndarray[Any, Any]]]] = {}
        try:
            with np.load(str(path), allow_pickle=False) as archive:
                for key in archive.files:
                    role, index, name = key.split("/")
                    feeds.setdefault(role, {}).setdefault(int(index), {})[name] = archive[key]
        except (OSError, ValueError) as error:
            raise InputError(f"{path} holds no recorded feeds ({error}): make it with `chattts calibrate`") from error
        return {role: [kept[index] for index in sorted(kept)] for role, kept in feeds.items()}


class RecordingSession:
    """What `Recorder.wrap` returns."""

    def __init__(self, recorder: Recorder, role: str, session: onnxruntime.InferenceSession) -> None:
        self._recorder = recorder
        self._role = role
        self._session = session

    def run(
        self, outputs: Optional[Sequence[str]], feeds: Mapping[str, np.ndarray[Any, Any]], *options: Any
    ) -> List[np.ndarray[Any, Any]]:
        """Record ``feeds``, then run."""
        self._recorder.record(self._role, feeds)
        results: List[np.ndarray[Any, Any]] = self._session.run(outputs, feeds, *options)
        return results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _with_options(providers: Sequence[str], device: str) -> List[Union[str, Tuple[str, Dict[str, str]]]]:
    index = device.split(":")[1] if ":" in device else "0"
    if not index.isdigit():
        raise InputError(f"unknown device {device!r}: an index is a number, as in 'cuda:1'")
    chosen: List[Union[str, Tuple[str, Dict[str, str]]]] = []
    for name in providers:
        if name == "CUDAExecutionProvider":
            # Grow the arena by what is asked for, not by doubling: the cache has most of the memory already.
            chosen.append((name, {"device_id": index, "arena_extend_strategy": "kSameAsRequested"}))
        elif name in ("DmlExecutionProvider", "TensorrtExecutionProvider"):
            chosen.append((name, {"device_id": index}))
        else:
            chosen.append(name)
    return chosen


def _version(text: str) -> Tuple[int, ...]:
    parts = []
    for part in text.split(".")[:3]:
        digits = "".join(character for character in part if character.isdigit())
        parts.append(int(digits or 0))
    return tuple(parts)


def _siblings(cpu: int) -> str:
    """The hyper-threads that share a core with ``cpu``, as one name."""
    try:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def _cpu_quota() -> Optional[float]:
    """CPUs that the control group may use, or None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        root = Path("/sys/fs/cgroup/cpu")
        value = int((root / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        length = int((root / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return value / length if value > 0 and length > 0 else None
