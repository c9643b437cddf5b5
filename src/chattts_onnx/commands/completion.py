"""``chattts completion``: a script that a shell sources to complete commands and their options.

Made from the parsers themselves, so it cannot fall behind them.
"""

from __future__ import annotations

import argparse
from typing import Dict, List

from chattts_onnx.errors import ChatTTSError

_BASH = """\
_chattts() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "{commands}" -- "$word")); return; fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  case "$word" in -*) COMPREPLY=($(compgen -W "$options" -- "$word"));; *) COMPREPLY=($(compgen -f -- "$word"));; esac
}}
complete -o filenames -F _chattts chattts
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help='eval "$(chattts completion bash)" in ~/.bashrc')


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    options = _options()
    if args.shell == "fish":
        for name, flags in options.items():
            print(f"complete -c chattts -n __fish_use_subcommand -a {name}")
            for flag in flags:
                print(f"complete -c chattts -n '__fish_seen_subcommand_from {name}' -l {flag.lstrip('-')}")
        return 0
    cases = "\n".join(f'    {name}) local options="{" ".join(flags)}";;' for name, flags in options.items())
    script = _BASH.format(commands=" ".join(options), cases=cases)
    print(("autoload -U +X bashcompinit && bashcompinit\n" if args.shell == "zsh" else "") + script, end="")
    return 0


def _options() -> Dict[str, List[str]]:
    """The long options of every command that this installation can load."""
    from chattts_onnx.cli import COMMANDS, load

    options: Dict[str, List[str]] = {}
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser(add_help=False)
        try:
            load(command).add_arguments(parser)
        except ChatTTSError:
            continue
        flags = [flag for action in parser._actions for flag in action.option_strings]  # noqa: SLF001
        options[name] = sorted(flag for flag in flags if flag.startswith("--"))
    return options
