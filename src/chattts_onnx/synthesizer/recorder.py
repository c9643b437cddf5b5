"""Lines to takes: here prompts are put together and handed to the engine, and its output is gathered."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Iterator, List, Optional, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.engine.generation import Generation
from chattts_onnx.engine.sequence import Prompt, SamplingParams, StepOutput
from chattts_onnx.speech import SpeechOptions
from chattts_onnx.synthesizer.parts import Parts
from chattts_onnx.synthesizer.script import Line
from chattts_onnx.synthesizer.take import Context, Take
from chattts_onnx.synthesizer.verdict import Band
from chattts_onnx.text.templates import code_prompt, refine_prompt
from chattts_onnx.voices import Voice

Codes = npt.NDArray[np.int64]

_STREAMS_PER_LINE = 16
_REFINING = _STREAMS_PER_LINE - 1
PATIENCE_SECONDS = 600.0
"""How long a speech that has begun waits for a place; OpenAI's clients give up after as long."""


class Recorder:
    """The takes of one narration: begun, followed, and stopped together."""

    def __init__(self, parts: Parts, voice: Voice, options: SpeechOptions, seed: int) -> None:
        """``voice`` speaks where a line asks for nobody else; ``seed`` is of all draws."""
        self._parts = parts
        self._voice = voice
        self._options = options
        self._seed = seed
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._running: List[Generation] = []
        self._begun = False
        self.prompt_tokens = 0

    def begin(self, line: Line, context: Context, *, ahead: bool) -> Take:
        """The first take of a line; ``ahead`` of its turn it takes what room there is, else it waits for some.

        Of ``context`` the end is used, as far as it, the line and the voice's own sample stay within what the model was
        taught (``context_seconds``).

        Raises:
            EngineOverloadedError: rows and queue are full, and it is ahead or nothing was begun yet.
        """
        voice = self._voice if line.voice is None else self._parts.voices.get(line.voice)
        spoken = self._refined(line, ahead=ahead) if self._refines() else line.spoken
        sample = 0 if voice.prompt_codes is None else len(voice.prompt_codes)
        manifest = self._parts.manifest
        room = manifest.context_seconds - line.seconds - sample / manifest.audio.tokens_per_second
        context = context.ending(room, self._cuts(context))
        return self._take(line, spoken, context, voice, attempt=0, ahead=ahead)

    def begin_again(self, take: Take, attempt: int, steps: int = 0, *, ahead: bool = False) -> Take:
        """Another draw of the same line; the first ``steps`` are kept as they are."""
        begun = take.all_codes[:steps] if steps else None
        again = self._take(take.line, take.spoken, take.context, take.voice, attempt=attempt, ahead=ahead, begun=begun)
        if begun is not None:
            again.codes.append(begun)
            again.hidden.append(np.concatenate(take.hidden)[:steps])
        return again

    def follow(self, take: Take) -> Iterator[StepOutput]:
        """What comes from the engine, once it is in the take; which is aligned at its end."""
        if take.finish is not None:
            return
        for output in self._outputs(take.generation):
            take.add(output)
            yield output
        if self._parts.aligner is not None and take.hidden:
            ids = self._parts.tokenizer.encode(take.spoken)
            take.alignment = self._parts.aligner.align(ids, np.concatenate(take.hidden))

    def context_of(self, take: Take) -> Context:
        """What the next line may be conditioned on after ``take``.

        Nothing, where it came out wrong: codes that do not say their transcript spoil the next line, which spoils the
        one after it.
        """
        pace = self._parts.manifest.audio.tokens_per_second
        if take.is_spoiled(pace):
            return Context()
        return Context(take.spoken, take.all_codes, take.tokens / pace, take.alignment)

    def cancel(self) -> None:
        """Abort what runs and whatever is begun from now on; from any thread."""
        self._cancelled.set()
        with self._lock:
            for generation in self._running:
                generation.abort()

    def _cuts(self, context: Context) -> Iterator[Tuple[int, int]]:
        if self._parts.aligner is not None and context.alignment is not None:
            yield from self._parts.aligner.cuts(context.transcript, context.alignment, self._parts.tokenizer.encode)

    def _take(
        self,
        line: Line,
        spoken: str,
        context: Context,
        voice: Voice,
        *,
        attempt: int,
        ahead: bool,
        begun: Optional[Codes] = None,
    ) -> Take:
        band = Band.of(line.seconds, self._parts.manifest.audio.tokens_per_second)
        prompt = self._prompt(spoken, context, voice, band, begun)
        params = replace(self._options.sampling, seed=self._seed, stream=_stream(line, attempt))
        generation = self._submit(prompt, params, ahead=ahead)
        self.prompt_tokens += prompt.length
        return Take(line, spoken, band, context, voice, attempt, generation, prompt.length)

    def _prompt(self, spoken: str, context: Context, voice: Voice, band: Band, begun: Optional[Codes]) -> Prompt:
        heard = Context(voice.prompt_text or "", voice.prompt_codes) if voice.prompt_codes is not None else Context()
        if context.codes is not None:
            heard = heard.followed_by(context.transcript, context.codes, context.seconds)
        text = code_prompt(
            spoken,
            prompt=self._options.code_tags,
            transcript=heard.transcript,
            speaker=voice.embedding is not None,
        )
        codebooks = self._parts.manifest.gpt.num_codebooks
        ids = np.repeat(np.asarray(self._parts.tokenizer.encode(text), np.int64)[:, None], codebooks, axis=1)
        codes = [part for part in (heard.codes, begun) if part is not None]
        done = len(begun) if begun is not None else 0
        return Prompt(
            np.concatenate((ids, *codes)),
            np.arange(len(ids) + sum(map(len, codes))) < len(ids),
            voice.embedding,
            min_new_token=max(1, band.shortest - done),
            max_new_token=max(2, band.longest - done),
        )

    def _refines(self) -> bool:
        if self._options.refine is not None:
            return self._options.refine
        return self._parts.manifest.refines

    def _refined(self, line: Line, *, ahead: bool) -> str:
        """``line`` as the model would say it, with its own pauses and laughs."""
        tokenizer: Any = self._parts.tokenizer
        if not hasattr(tokenizer, "decode_refined"):
            return line.spoken
        encoded = tokenizer.encode(refine_prompt(line.spoken, self._options.refine_tags))
        ids = np.repeat(np.asarray(encoded, np.int64)[:, None], self._parts.manifest.gpt.num_codebooks, axis=1)
        prompt = Prompt(
            ids,
            np.ones(len(ids), np.bool_),
            head="text",
            end_ids=(tokenizer.vocab["[Ebreak]"],),
            # The reference's own check: refined text of more than four times the input is a runaway.
            max_new_token=4 * len(encoded),
        )
        params = SamplingParams.for_text(
            seed=self._seed, stream=_stream(line, _REFINING), greedy=self._options.sampling.greedy
        )
        generation = self._submit(prompt, params, ahead=ahead)
        self.prompt_tokens += prompt.length
        outputs = [output.codes[:, 0] for output in self._outputs(generation)]
        drawn = np.concatenate(outputs) if outputs else np.zeros(0, np.int64)
        refined: str = tokenizer.decode_refined([int(i) for i in drawn])
        return refined if refined.strip() else line.spoken

    def _submit(self, prompt: Prompt, params: SamplingParams, *, ahead: bool) -> Generation:
        # A speech that has begun waits for a place where a new one is refused, but not for what merely runs ahead. Its
        # beginning goes before all, where nothing is heard yet, and what is to be heard next before what runs ahead:
        # each such take is a group of its own, so that it does not wait until fewer of its text are running.
        group = id(self) if ahead else object() if self._begun else None
        patience = PATIENCE_SECONDS if self._begun and not ahead else 0.0
        generation = self._parts.worker.submit(prompt, params, group=group, patience=patience)
        self._begun = True
        with self._lock:
            self._running.append(generation)
            if self._cancelled.is_set():
                generation.abort()
        return generation

    def _outputs(self, generation: Generation) -> Iterator[StepOutput]:
        yield from generation
        with self._lock:
            self._running.remove(generation)


def _stream(line: Line, attempt: int) -> int:
    """Lines and attempts draw from separate streams of one seed, so that no line depends on another's luck."""
    return line.index * _STREAMS_PER_LINE + attempt
