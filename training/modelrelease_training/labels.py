"""What class a label or an answer means, however it is spelled. Pure.

Labels come from spreadsheets and databases: `1.0`, `true` and ` 1` are the class that the predictor
answers with `1`. What can be read as none of the model's classes is nobody's to guess.
"""

import unicodedata
from typing import Final

from modelrelease_contract.artifact import Output

_YES: Final = frozenset({"1", "true", "t", "yes", "y"})
_NO: Final = frozenset({"0", "false", "f", "no", "n"})


class Classes:
    """The classes of one model. Where it lists none, numbers are compared as numbers."""

    def __init__(self, output: Output, *, numbers: bool = False) -> None:
        self.names = output.classes
        self._numbers = numbers
        self._spelled = {_plain(label): label for label in output.classes}
        self._values = {
            value: label for label in output.classes if (value := _number(label)) is not None
        }
        truths = [_truth(label) for label in output.classes]
        truth_and_falsehood = sorted(truths, key=str) == [False, True]
        self._truths = dict(zip(truths, output.classes, strict=True)) if truth_and_falsehood else {}

    def of(self, value: float | str) -> str | None:
        """Return the class that is meant, or None where none is."""
        text, number = _plain(str(value)), _number(value)
        if not self.names:
            if number is not None:
                return repr(number)
            return None if self._numbers else text or None
        label = self._spelled.get(text)
        if label is None and number is not None:
            label = self._values.get(number)
        if label is None:
            label = self._truths.get(_truth(text))
        return label

    @property
    def rule(self) -> str:
        """What a label must be, in words."""
        return f"one of {', '.join(self.names)}" if self.names else "a number"


def _plain(text: str) -> str:
    """Return a text without what no one sees: spaces around it, the composition of accents."""
    return unicodedata.normalize("NFC", text).strip()


def _number(value: float | str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number == number else None  # noqa: PLR0124 - NaN is no class


def _truth(text: str) -> bool | None:
    word, number = text.strip().lower(), _number(text)
    if word in _YES or number == 1:
        return True
    if word in _NO or number == 0:
        return False
    return None
