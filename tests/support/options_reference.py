"""docs/reference/training-options.md, which is written from the parsers of the commands.

`python -m tests.support.options_reference` writes it anew.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from modelrelease_training import __main__ as training
from modelrelease_training.drift import __main__ as drift
from modelrelease_training.flow import __main__ as flow

DOCUMENT: Final = Path(__file__).parents[2] / "docs/reference/training-options.md"
INTRODUCTION: Final = """\
# Options of the training commands

Written from the commands themselves, which say the same with `--help`. What they do is told in
[training](training.md), [the model registry](registry.md), [retraining](retraining.md) and
[drift](drift.md).
"""


def document() -> str:
    """Return the whole page."""
    parsers = (training._parser(), drift._parser(), flow._parser())
    return INTRODUCTION + "".join(text for parser in parsers for text in _commands(parser))


def _commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield f"\n## {parser.prog}\n"
            helps = {it.dest: it.help for it in action._choices_actions}
            for name, command in action.choices.items():
                if name in helps:
                    yield f"\n### {command.prog}\n\n{_sentence(helps[name])}\n\n{_table(command)}"


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _table(command: argparse.ArgumentParser) -> str:
    lines = ["| option | what |", "|---|---|"]
    for action in command._actions:
        if action.help != argparse.SUPPRESS and action.dest != "help":
            names = ", ".join(f"`{name}`" for name in _names(action))
            lines.append(f"| {names} | {_meaning(action)} |")
    return "\n".join(lines) + "\n"


def _names(action: argparse.Action) -> Iterator[str]:
    takes = action.nargs != 0
    value = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if not action.option_strings:
        yield str(value)
    for name in action.option_strings:
        yield f"{name} {value}" if takes and not action.choices else name


def _meaning(action: argparse.Action) -> str:
    choices = ", ".join(f"`{each}`" for each in action.choices or ())
    told = (action.help or "") % {**vars(action), "prog": ""}
    parts = [f"one of {choices}" if choices else "", " ".join(told.split())]
    return "; ".join(part for part in parts if part).replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(document())
