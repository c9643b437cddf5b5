"""Takes to sound: the one place where the engine's output, the vocoder and the joiner meet.

A line is a *take* of the engine (`recorder`): its prompt, its codes, its hidden states. With ``carry`` the next take
starts the moment the one before has its last code, conditioned on those codes as they are (no audio is encoded again);
with ``anchor`` and ``none`` several takes run ahead in one batch and are told in order. A take is judged when it is
whole, and what is wrong with it is drawn again; a live stream cannot take back what was heard, so its first take is
given out as it comes, and the others where the model cannot tell what it spoke.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, Iterator, List, Optional, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.joiner import Joiner
from chattts_onnx.audio.postprocess import PostProcessor
from chattts_onnx.audio.stretch import TimeStretcher
from chattts_onnx.errors import ChatTTSError, EngineOverloadedError, SynthesisError
from chattts_onnx.speech import AudioChunk, SegmentReport, SpeechOptions
from chattts_onnx.synthesizer.parts import Parts
from chattts_onnx.synthesizer.recorder import Recorder
from chattts_onnx.synthesizer.script import Line
from chattts_onnx.synthesizer.take import Context, Take
from chattts_onnx.synthesizer.verdict import is_silent
from chattts_onnx.voices import Voice

Float32 = npt.NDArray[np.float32]

REWIND_SYMBOLS = 12
"""Symbols before the first misread one from which a line is drawn again: the model was often lost before it showed."""
TAKES_AHEAD = 4
"""Takes that run beside the one being told, where they do not depend on it."""


class Narration:
    """One text being spoken: iterate `chunks`; `reports` and `prompt_tokens` grow with it."""

    def __init__(
        self, parts: Parts, script: Iterator[Line], voice: Voice, options: SpeechOptions, *, seed: int, live: bool
    ) -> None:
        """Prepare to speak.

        Args:
            parts: the model.
            script: lines, taken as they are needed.
            voice: who speaks where a line asks for nobody else.
            options: everything else.
            seed: of all draws.
            live: give sound as early as possible; False: only whole takes that were judged.
        """
        self._parts = parts
        self._script = script
        self._options = options
        self._live = live
        self._rate = options.sample_rate or parts.manifest.audio.sample_rate
        self._pace = parts.manifest.audio.tokens_per_second
        self._recorder = Recorder(parts, voice, options, seed)
        self._upcoming: Deque[Take] = deque()
        self._context = Context()
        self._held_back: Optional[Line] = None
        self._lead_seconds = 0.0
        self.reports: List[SegmentReport] = []
        self.tokens = 0

    @property
    def prompt_tokens(self) -> int:
        """Tokens read so far, of all attempts."""
        return self._recorder.prompt_tokens

    def cancel(self) -> None:
        """Stop from another thread: running takes are aborted and `chunks` ends with `RequestAbortedError`."""
        self._recorder.cancel()

    def chunks(self) -> Iterator[AudioChunk]:
        """The sound, in order.

        Raises:
            EngineError, SynthesisError: generation failed; what was given out before is all there is.
        """
        try:
            yield from self._tell()
        finally:
            self.cancel()

    def _tell(self) -> Iterator[AudioChunk]:
        manifest = self._parts.manifest
        joiner = Joiner(manifest.audio.sample_rate)
        post = PostProcessor(manifest.audio.sample_rate, self._rate)
        position = 0

        def chunk(ready: Float32, line: Line) -> Iterator[AudioChunk]:
            nonlocal position
            if len(ready):
                yield AudioChunk(ready, self._rate, line.index, line.span, position / self._rate)
                position += len(ready)

        line: Optional[Line] = None
        self._refill(None)
        while self._upcoming:
            take = self._upcoming.popleft()
            line = take.line
            speed = self._options.speed * line.speed
            if line.lead_ms:
                self._lead_seconds = line.lead_ms / speed / 1000
                silence = np.zeros(round(self._lead_seconds * manifest.audio.sample_rate), np.float32)
                yield from chunk(post.push(silence), line)
            stretcher = TimeStretcher(manifest.audio.sample_rate, min(4.0, max(0.25, speed)))
            for samples in self._sound(take):
                yield from chunk(post.push(joiner.push(stretcher.push(samples))), line)
            yield from chunk(post.push(joiner.push(stretcher.flush())), line)
            yield from chunk(post.push(joiner.end_segment(line.pause_ms / speed)), line)
            self._report(take, joiner.spans[-1])
        if line is not None:
            yield from chunk(post.push(joiner.finish()), line)
            yield from chunk(post.flush(), line)

    # Takes in the order of the lines.

    def _refill(self, done: Optional[Take]) -> None:
        """Start the takes that may run now; called at the start and whenever a take has its last code."""
        continuity = self._options.continuity or self._parts.manifest.continuity
        if done is not None and (continuity == "carry" or (continuity == "anchor" and self._context.codes is None)):
            self._context = self._recorder.context_of(done)
        parallel = continuity == "none" or self._context.codes is not None
        limit = TAKES_AHEAD if parallel and continuity != "carry" else 1
        while len(self._upcoming) < limit:
            line = self._held_back or next(self._script, None)
            self._held_back = None
            if line is None:
                return
            ahead = bool(self._upcoming)
            try:
                self._upcoming.append(self._recorder.begin(line, self._context, ahead=ahead))
            except EngineOverloadedError:
                if not ahead:
                    raise
                self._held_back = line
                return

    # A take's sound.

    def _sound(self, take: Take) -> Iterator[Float32]:
        if not self._is_judged(take):
            yield from self._live_sound(take)
            return
        self._collect(take)
        self._keep_best(take)
        self._refill(take)
        if not self._live:
            yield self._decoded(take)
            return
        # In chunks, as a stream: many listeners whose lines are decoded whole at once would need many times the memory.
        stream = self._parts.vocoder.stream(self._options.lookahead_tokens)
        yield stream.push(np.concatenate(take.hidden))
        yield stream.finish()

    def _is_judged(self, take: Take) -> bool:
        """Whether a take is judged before it is heard: in a live stream, where something plays in the meantime.

        By its place and not by what is ready by then, or the same seed would say a line differently under load.
        """
        if not self._live:
            return True
        return take.line.index > 0 and self._parts.aligner is not None and self._options.max_attempts > 1

    def _decoded(self, take: Take) -> Float32:
        """The sound of a whole take; one that is silent is repeated, if there are attempts left.

        Silence shows only now, when the next take may already run; the engine does not wait for the vocoder for that.
        """
        rate = self._parts.manifest.audio.sample_rate
        samples = self._parts.vocoder.decode(np.concatenate(take.hidden))
        take.silent = is_silent(samples, rate)
        while take.silent and take.attempt + 1 < self._options.max_attempts:
            again = self._recorder.begin_again(take, take.attempt + 1)
            self._collect(again)
            take.attempt += 1
            if again.problem(self._pace) is None:
                samples = self._parts.vocoder.decode(np.concatenate(again.hidden))
                take.take_over(again)
                take.silent = is_silent(samples, rate)
        return samples

    def _live_sound(self, take: Take) -> Iterator[Float32]:
        stream = self._parts.vocoder.stream(self._options.lookahead_tokens)
        heard = False
        for output in self._recorder.follow(take):
            self._mend_ahead()
            samples = stream.push(output.hidden)
            if len(samples):
                heard = True
                yield samples
        again = not heard and take.wants_another(self._pace)
        if again:
            self._keep_best(take)
        self._refill(take)
        yield self._decoded(take) if again else stream.finish()

    def _collect(self, take: Take) -> None:
        """Wait for the whole of a take, and mend others meanwhile."""
        for _ in self._recorder.follow(take):
            self._mend_ahead()

    def _mend_ahead(self) -> None:
        """Begin to draw again what is wrong with takes that ended before their turn, where rows are free.

        The draws are those that would be made then, so the sound is the same; the batch is fuller and the wait shorter.
        """
        for take in self._upcoming:
            if not take.generation.done or not self._is_judged(take):
                continue
            try:
                for _ in self._recorder.follow(take):
                    pass
                if not (take.redraws or self._parts.worker.stats().waiting) and take.wants_another(self._pace):
                    self._draw_again(take, 1, ahead=True)
            except ChatTTSError:
                return  # what failed is told when its turn comes, and what found no room is drawn then

    def _keep_best(self, take: Take) -> None:
        """Draw again what is wrong, a bounded number of times; ``take`` then holds the best attempt."""
        best, attempts = take, 1
        while attempts < self._options.max_attempts and best.wants_another(self._pace):
            self._draw_again(best, attempts)
            draws, best.redraws = best.redraws, []
            attempts += len(draws)
            for draw in draws:
                self._collect(draw)
            best = max([best, *draws], key=lambda one: one.goodness(self._pace))
        if best.tokens == 0:
            raise SynthesisError(f"the model said nothing for {take.line.text.strip()!r}: try another seed or voice")
        take.take_over(best)
        take.attempt = attempts - 1

    def _draw_again(self, take: Take, attempts: int, *, ahead: bool = False) -> None:
        """Begin two more draws of a line, or what is left of them after so many attempts.

        Two at a time, since a batch of two costs little more than one. Where words were lost, one of them goes on from
        a little before them and keeps what was right; the other begins anew, as both do after anything else.
        """
        steps = 0
        if take.problem(self._pace) in {None, "misread"} and take.alignment is not None:
            steps = take.alignment.good_until(REWIND_SYMBOLS)
        for number in range(len(take.redraws), min(2, self._options.max_attempts - attempts)):
            again = self._recorder.begin_again(take, attempts + number, 0 if number else steps, ahead=ahead)
            take.redraws.append(again)

    def _report(self, take: Take, span: Tuple[int, int]) -> None:
        rate = self._parts.manifest.audio.sample_rate
        self.tokens += take.tokens
        self.reports.append(
            SegmentReport(
                index=take.line.index,
                text=take.line.text,
                spoken=take.spoken,
                text_span=take.line.span,
                start=self._lead_seconds + span[0] / rate,
                end=self._lead_seconds + span[1] / rate,
                tokens=take.tokens,
                prompt_tokens=take.prompt_tokens,
                attempts=take.attempt + 1,
                problem=take.problem(self._pace),
                misread=take.alignment.share if take.alignment is not None else None,
                doubt=take.alignment.doubt if take.alignment is not None else None,
            )
        )
