"""The strings a text becomes before it is tokenised: one template to speak, one to refine.

They are the published model's training format (facts of the reference, given as strings): changing a character of
them changes what the model hears. Text and transcript lose the structural tags first, so that no text can end its own
span or place a second speaker.
"""

from __future__ import annotations

from chattts_onnx.text.tags import strip_structural

DEFAULT_CODE_PROMPT = "[speed_5]"


def code_prompt(text: str, *, prompt: str = DEFAULT_CODE_PROMPT, transcript: str = "", speaker: bool = True) -> str:
    """The prompt that makes audio codes.

    Args:
        text: what is to be said, normalised, with word tags.
        prompt: control tags for the sentence, ``[speed_0]`` … ``[speed_9]``.
        transcript: what the voice's own sample says (cloning); spoken already, so it stands before the text.
        speaker: whether a speaker vector takes the place of ``[spk_emb]``.
    """
    voice = "[spk_emb]" if speaker else "[empty_spk]"
    return f"[Stts]{voice}{strip_structural(transcript)}{prompt}{strip_structural(text).strip()}[Ptts]"


def refine_prompt(text: str, prompt: str = "") -> str:
    """The prompt that makes the model rewrite ``text`` with spoken-language tags.

    Args:
        text: the text, normalised.
        prompt: control tags, e.g. ``[oral_2][laugh_0][break_6]``.
    """
    return f"[Sbreak]{strip_structural(text)}[Pbreak]{prompt}"
