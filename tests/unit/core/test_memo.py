"""What is kept of a pure function's results, and for how long."""

import pytest

from modelrelease_operator.core.memo import Memo


def asked(memo: Memo[str], key: str, inputs: object) -> bool:
    """Return whether a result had to be made."""
    made: list[str] = []

    def make() -> str:
        made.append(key)
        return f"{key} of {inputs}"

    assert memo.of(key, inputs, make) == f"{key} of {inputs}"
    return bool(made)


def test_the_same_inputs_are_made_once():
    memo: Memo[str] = Memo(2)
    assert [asked(memo, "a", [1]), asked(memo, "a", [1])] == [True, False]


def test_other_inputs_are_made_anew_and_take_the_place_of_the_first():
    memo: Memo[str] = Memo(2)
    assert [asked(memo, "a", each) for each in (1, 2, 2, 1)] == [True, True, False, True]
    assert len(memo) == 1


def test_the_longest_unused_goes_first():
    memo: Memo[str] = Memo(2)
    assert [asked(memo, key, 1) for key in "abacab"] == [True, True, False, True, False, True]
    assert len(memo) == 2


def test_what_is_forgotten_is_made_anew():
    memo: Memo[str] = Memo(2)
    assert asked(memo, "a", 1)
    memo.forget("a")
    memo.forget("never asked for")
    assert asked(memo, "a", 1)


def test_what_cannot_be_made_is_not_kept():
    memo: Memo[str] = Memo(2)

    def refuse() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        memo.of("a", 1, refuse)
    assert asked(memo, "a", 1)


def test_a_result_is_known_for_its_inputs_alone_and_stays_longer_where_it_is_asked_for():
    memo: Memo[str] = Memo(2)
    memo.keep("a", 1, "one")
    memo.keep("b", 1, "one")
    assert (memo.knows("a", 1), memo.knows("a", 2), memo.knows("c", 1)) == (True, False, False)
    memo.keep("c", 1, "one")
    assert [memo.knows(key, 1) for key in "abc"] == [True, False, True]
