"""What the routes of one server share. There is no module-level state: two servers may live in one process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import List, Optional

from chattts_onnx.server.admission import Admission
from chattts_onnx.server.backend import Backend, voice_names
from chattts_onnx.server.error_responses import invalid
from chattts_onnx.server.lifecycle import Lifecycle
from chattts_onnx.server.metrics import Metrics
from chattts_onnx.server.schemas import OPENAI_MODELS, OPENAI_VOICES
from chattts_onnx.server.settings import ServerSettings


@dataclass
class ServerContext:
    """One server: its settings, its brakes, and its backend once that is loaded."""

    settings: ServerSettings
    lifecycle: Lifecycle
    admission: Admission
    metrics: Metrics
    encoders: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=2, thread_name_prefix="encode")
    )
    """Encoding is short but not free: off the event loop, and off the threads that wait for the engine."""
    backend: Optional[Backend] = None

    @classmethod
    def of(cls, settings: ServerSettings) -> ServerContext:
        """A context without a backend."""
        context = cls(
            settings=settings,
            lifecycle=Lifecycle(settings.stall_seconds, settings.watchdog_seconds),
            admission=Admission(settings.slot_count, settings.queue_length, settings.queue_timeout),
            metrics=Metrics(),
        )
        context.metrics.bind(
            running=lambda: context.admission.running,
            waiting=lambda: context.admission.waiting,
            in_flight=lambda: context.lifecycle.in_flight,
        )
        return context

    def require_backend(self) -> Backend:
        """The backend.

        Raises:
            UnavailableError: loading, draining or failed.
        """
        self.lifecycle.check_open()
        if self.backend is None:
            raise RuntimeError("ready without a backend")
        return self.backend

    def resolve_voice(self, spec: Optional[str]) -> Optional[str]:
        """The voice that ``spec`` (already checked for its form) means here.

        OpenAI's names stand for the model's own voices, one after the other, unless an alias or a voice of that name
        says otherwise: a client that knows only those still hears different people.

        Raises:
            RequestError: no such voice.
        """
        if spec is None or spec.isdigit():
            return spec
        names = voice_names(self.require_backend())
        aliases = dict(pair.split("=", 1) for pair in self.settings.voice_aliases)
        resolved = []
        for part in spec.split("+"):
            name, colon, weight = part.partition(":")
            target = name if name in names else aliases.get(name, name)
            if target not in names and name in OPENAI_VOICES:
                index = OPENAI_VOICES.index(name)
                # A model without named voices still has its seeds.
                target = names[index % len(names)] if names else str(index + 1)
            if target not in names and not target.isdigit():
                message = f"unknown voice {name!r}: use one of GET /v1/audio/voices, or a number as seed"
                raise invalid(message, "voice", "unknown_voice")
            resolved.append(target + colon + weight)
        return "+".join(resolved)

    def check_model(self, name: Optional[str]) -> None:
        """Accept the loaded model's name, ``chattts`` and OpenAI's names for speech models.

        Raises:
            RequestError: another model was asked for.
        """
        known = self.model_names()
        if name is None or name in known or name.startswith("gpt-4o-mini-tts"):
            return
        message = f"the model {name!r} is not loaded here: use one of {', '.join(known)}"
        raise invalid(message, "model", "model_not_found", status=404)

    def model_names(self) -> List[str]:
        """Names the loaded model answers to, its own first."""
        own = str(self.require_backend().manifest.name)
        return list(dict.fromkeys((own, "chattts", *OPENAI_MODELS)))
