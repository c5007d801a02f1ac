"""Values that a decision makes by the hundred."""

from dataclasses import replace

import pytest

from modelrelease_operator.core.immutable import immutable


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
