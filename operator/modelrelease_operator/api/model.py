"""The base of what the API server stores:
frozen, in camel case, and changed by checked copies alone.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

_new, _set = object.__new__, object.__setattr__
_Part = TypeVar("_Part", bound="Model")


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
        for name, value in changes.items():
            changes[name] = checks[name](value)
        fields = self.__dict__
        if len(fields) > len(checks):
            # What is cached beside the fields is of the original.
            fields = {name: fields[name] for name in checks}
        known = self.__pydantic_fields_set__
        # Shared where nothing is new in it: a frozen model never adds to it.
        known = known if known.issuperset(changes) else known.union(changes)
        return _with_fields(kind, fields | changes, known)

    def _part(self, kind: type[_Part]) -> _Part:
        """Return the fields of a base class alone: they were checked when they were set."""
        mine = self.__dict__
        fields = {name: mine[name] for name in _checks_of(kind)}
        return _with_fields(kind, fields, self.__pydantic_fields_set__.intersection(fields))


def _with_fields(kind: type[_Part], fields: dict[str, Any], known: set[str]) -> _Part:
    """Return a model of fields that were checked.

    As `model_copy` does, which copies four parts of a model one after the other.
    """
    model = _new(kind)
    _set(model, "__dict__", fields)
    _set(model, "__pydantic_fields_set__", known)
    _set(model, "__pydantic_extra__", None)
    _set(model, "__pydantic_private__", None)
    return model


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
