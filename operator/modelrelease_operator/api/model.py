"""The base of what the API server stores:
frozen, in camel case, and changed by checked copies alone.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

_set = object.__setattr__


class Model(BaseModel):
    """Part of a ModelRelease. Unknown fields are ignored:
    a newer operator may have written them.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )

    def but(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        `model_copy` would keep a field that does not exist, and a value of another type. Raises
        TypeError for the first and pydantic's ValidationError for the second: both are defects of
        this program.
        """
        kind = type(self)
        checks = _checks_of(kind)
        checked = {name: checks[name](value) for name, value in changes.items()}
        fields = self.__dict__
        if len(fields) > len(checks):
            # What is cached beside the fields is of the original.
            fields = {name: fields[name] for name in checks}
        # As `model_copy` does, which copies four parts of a model one after the other.
        copy = kind.__new__(kind)
        _set(copy, "__dict__", fields | checked)
        _set(copy, "__pydantic_fields_set__", self.__pydantic_fields_set__.union(checked))
        _set(copy, "__pydantic_extra__", None)
        _set(copy, "__pydantic_private__", None)
        return copy


class _Checks(dict[str, Callable[[Any], Any]]):
    """By field of a model: what validates a value of it."""

    def __init__(self, kind: type[Model]) -> None:
        self.kind = kind
        for name, field in kind.model_fields.items():
            self[name] = TypeAdapter(field.rebuild_annotation()).validator.validate_python

    def __missing__(self, name: str) -> Callable[[Any], Any]:
        fields = ", ".join(self.kind.model_fields)
        msg = f"{self.kind.__name__} has no field {name}: it has {fields}"
        raise TypeError(msg)


_checks_of = cache(_Checks)
