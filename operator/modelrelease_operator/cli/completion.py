"""`modelrelease completion`: a script with which a shell completes commands, options and names."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from modelrelease_operator.cli.common import Commands, command

SHELLS: Final = ("bash", "zsh", "fish")
RELEASES: Final = "kubectl get modelreleases -o name --request-timeout=2s 2>/dev/null | cut -d/ -f2"
"""Prints the releases of the context's namespace. Without quotes and wildcards, which the shells
read each in their own way.
"""
DETAILS = """\
The script is made once and asks nothing but kubectl, for names of releases of
your context's namespace. Make it anew after an upgrade.

examples:
  modelrelease completion bash \\
      > ~/.local/share/bash-completion/completions/modelrelease
  modelrelease completion zsh > "${fpath[1]}/_modelrelease"
  modelrelease completion fish \\
      > ~/.config/fish/completions/modelrelease.fish
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "completion", "write a script for completion in a shell", DETAILS)
    parser.add_argument("shell", choices=SHELLS, help="which shell")
    parser.set_defaults(run=_completion)


def _completion(parsed: argparse.Namespace) -> int:
    # Needed by nothing else; and the parser of all commands knows this one.
    import shtab  # noqa: PLC0415

    from modelrelease_operator.cli import parser  # noqa: PLC0415

    whole = parser()
    for action in _actions(whole):
        if action.dest == "name" and not action.option_strings:
            _complete(action, shtab.cmd(RELEASES))
        elif action.type is Path:
            _complete(action, shtab.FILE)
    print(shtab.complete(whole, parsed.shell))
    return 0


def _complete(action: argparse.Action, how: Any) -> None:
    """Say how an argument is completed, where shtab looks for it."""
    action.complete = how  # type: ignore[attr-defined]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every argument of every command."""
    for action in parser._actions:  # argparse has no public way to them
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
