"""``instructions`` in plain words to the control tags ChatTTS has: colloquial, laughing, pausing, pace.

The model does not read instructions; this table is all that is understood of them, in English and Chinese, and the
documentation prints it. Words that mean nothing here change nothing.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Tuple

# Pattern -> option and level. Later rows win, so the stronger wording stands after the weaker one.
STYLE_WORDS: Tuple[Tuple[str, str, int], ...] = (
    (r"casual|conversational|colloquial|informal|chatty|口语|随意|聊天|轻松", "oral", 5),
    (r"very (casual|conversational|colloquial|informal|chatty)|非常(口语|随意)|很(口语|随意)", "oral", 8),
    (r"formal|news|announcer|narrat|正式|播音|新闻|朗读|旁白", "oral", 0),
    (r"cheerful|happy|amused|smil|playful|开心|高兴|愉快|微笑|活泼", "laugh", 1),
    (r"laugh|giggl|hilarious|大笑|笑声|哈哈", "laugh", 2),
    (r"serious|solemn|sad|严肃|庄重|悲伤", "laugh", 0),
    (r"pauses?|hesitant|thoughtful|calm|停顿|犹豫|沉思|平静", "break_", 5),
    (r"long pauses|many pauses|very calm|长停顿|很多停顿", "break_", 7),
    (r"no pauses|without pauses|fluent|不停顿|流畅|连贯", "break_", 1),
    (r"slow|slowly|慢|缓慢", "speed_tag", 3),
    (r"very slow|很慢|非常慢", "speed_tag", 1),
    (r"fast|quick|hurried|rapid|excited|(?<!愉)快(?!乐)|激动", "speed_tag", 7),
    (r"very (fast|quick|rapid)|很快|非常快", "speed_tag", 9),
)


def style_of(instructions: str) -> Dict[str, Any]:
    """Speech options that ``instructions`` ask for; empty if nothing in them is understood."""
    lowered = instructions.lower()
    return {name: level for pattern, name, level in STYLE_WORDS if re.search(rf"(?<![a-z])(?:{pattern})", lowered)}
