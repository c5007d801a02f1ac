"""Values that a decision makes by the hundred: frozen for the type checker, and quick to make.

A dataclass with `frozen=True` fills itself by `object.__setattr__`. One of five fields then takes
10,900 instructions to make, and 4,600 without (Python 3.11, counted by valgrind); a decision makes
some two hundred. So the interpreter lets these be changed, and mypy refuses it.

Most of them are copies. A class that is called by name has its arguments packed into a dictionary
and out of it again, so each class has a `but` that is written for its fields, as dataclasses writes
`__init__`: a copy takes a third of the time.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Self, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def immutable(cls: type[T]) -> type[T]:
    """Make a class a dataclass with slots whose fields are given by name and never assigned to."""
    made = dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
    if issubclass(made, Value):
        made.but = _but_of(made)  # type: ignore[method-assign]
    return made


class Value:
    """One that is copied often; `immutable` writes its `but`."""

    __slots__ = ()

    def but(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked as a new value is.

        Raises TypeError for a field that does not exist.
        """
        raise NotImplementedError


_KEPT: Any = object()
"""Stands for the field of the original."""


def _but_of(cls: type[Value]) -> Any:
    names = [each.name for each in fields(cls)]  # type: ignore[arg-type]
    arguments = ", ".join(f"{name}=_kept" for name in names)
    copied = [f"    _copy.{name} = self.{name} if {name} is _kept else {name}" for name in names]
    checked = ["    _copy.__post_init__()"] if hasattr(cls, "__post_init__") else []
    lines = [
        f"def but(self, *, {arguments}):",
        "    _copy = _new(_cls)",
        *copied,
        *checked,
        "    return _copy",
    ]
    known = {"_kept": _KEPT, "_new": object.__new__, "_cls": cls}
    exec("\n".join(lines), known)  # noqa: S102 - names of fields alone, as dataclasses does
    return known["but"]
