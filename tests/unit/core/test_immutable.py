"""Values that a decision makes by the hundred."""

from dataclasses import replace

import pytest

from modelrelease_operator.core.immutable import Value, immutable


@immutable
class Share:
    total: int
    bad: int = 0


def changed(share: Share) -> None:
    """Do what the type checker refuses: were it not an error, mypy would not need the comment."""
    share.bad = 1  # type: ignore[misc]


def test_values_are_alike_when_their_fields_are():
    assert Share(total=3, bad=1) == Share(total=3, bad=1)
    assert len({Share(total=3), Share(total=3, bad=0), Share(total=4)}) == 2


def test_a_value_with_other_fields_is_another_value():
    share = Share(total=3)
    assert replace(share, bad=1) == Share(total=3, bad=1)
    assert share == Share(total=3)


def test_fields_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        Share(3)  # type: ignore[call-arg]


@immutable
class Counts(Value):
    total: int
    bad: int = 0

    def __post_init__(self) -> None:
        if self.bad > self.total:
            raise ValueError("more are bad than there are")


@immutable
class NamedCounts(Counts):
    name: str


def test_a_copy_has_the_fields_that_were_not_changed():
    counts = Counts(total=3, bad=1)
    assert counts.but(total=4) == Counts(total=4, bad=1)
    assert counts.but() == counts == Counts(total=3, bad=1)


def test_a_copy_of_a_subclass_is_one_of_it():
    counts = NamedCounts(total=3, name="errors")
    assert counts.but(bad=2) == NamedCounts(total=3, bad=2, name="errors")


def test_a_copy_is_checked_as_a_new_value_is():
    with pytest.raises(ValueError, match="more are bad"):
        Counts(total=3).but(bad=4)


def test_a_copy_has_no_field_that_does_not_exist():
    with pytest.raises(TypeError, match="badd"):
        Counts(total=3).but(badd=1)
