"""A named rewriting of text, and the pieces of expressions that rules of both languages share.

Every quantifier in a rule's expression is bounded and every expression that starts with a digit refuses to start in
the middle of a number: this is what keeps a flood of one symbol linear. `Rule` carries its name so that a test, or a
curious user, can ask which rule did what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Union

NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,5}(?![0-9])|[0-9]{1,20})(?:\.[0-9]{1,20})?"
"""A number as written: thousands separators, a fraction."""
START = r"(?<![0-9])(?<![0-9][.,:/])(?<![A-Za-z])"
"""Here a number may begin."""
END = r"(?![0-9])(?![.,:/][0-9])"
"""Here a number may end."""
DASH = r"[ ]?[-~～–—−][ ]?"
"""What stands between the ends of a range."""

_Replacement = Union[str, Callable[["re.Match[str]"], str]]


@dataclass(frozen=True)
class Rule:
    """One step of normalisation."""

    name: str
    apply: Callable[[str], str]

    def __call__(self, text: str) -> str:
        """Rewrite ``text``."""
        return self.apply(text)


def pattern(name: str, expression: str, replacement: _Replacement, flags: int = 0) -> Rule:
    """A rule that replaces every match of ``expression``."""
    compiled = re.compile(expression, flags)

    def apply(text: str) -> str:
        return compiled.sub(replacement, text)

    return Rule(name, apply)
