"""Values that a decision makes by the hundred: frozen for the type checker, and quick to make.

A dataclass with `frozen=True` fills itself by `object.__setattr__`. One of five fields then takes
10,900 instructions to make, and 4,600 without (Python 3.11, counted by valgrind); a decision makes
some two hundred. So the interpreter lets these be changed, and mypy refuses it.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def immutable(cls: type[T]) -> type[T]:
    """Make a class a dataclass with slots whose fields are given by name and never assigned to."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
