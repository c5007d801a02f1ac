"""When windows of texts are complete, and which revisions are forgotten."""

import numpy as np

from modelrelease_training.drift.baseline import TextBaseline
from modelrelease_training.drift.windows import Rules, Windows

KEY = ("qna", "abc")


def windows(known: TextBaseline, *, revisions: int = 5) -> Windows:
    rules = Rules(texts=10, minimum=4, seconds=60, threshold=0.12, alpha=0.01)
    return Windows(known.reference, rules, revisions=revisions)


def some(known: TextBaseline, number: int) -> tuple[list[str], np.ndarray]:
    return ["text"] * number, known.reference.vectors[:number]


def test_a_window_is_complete_with_its_texts_and_the_next_begins(known: TextBaseline) -> None:
    kept = windows(known)
    assert [each.n for each in kept.add(KEY, *some(known, 25), now=0)] == [10, 10]
    assert kept.size(KEY) == 5


def test_a_window_that_lasted_long_enough_is_complete_with_fewer(known: TextBaseline) -> None:
    kept = windows(known)
    kept.add(KEY, *some(known, 4), now=0)
    assert list(kept.expired(now=59)) == []
    assert [(key, found.n) for key, found in kept.expired(now=60)] == [(KEY, 4)]
    assert kept.size(KEY) == 0


def test_a_window_with_too_few_texts_waits_for_more(known: TextBaseline) -> None:
    kept = windows(known)
    kept.add(KEY, *some(known, 3), now=0)
    assert list(kept.expired(now=10**6)) == []


def test_the_revision_that_was_silent_for_longest_is_forgotten_even_with_no_window_open(
    known: TextBaseline,
) -> None:
    kept = windows(known, revisions=2)
    kept.add(("qna", "old"), *some(known, 10), now=0)
    for name in ("mid", "new"):
        kept.add(("qna", name), *some(known, 3), now=1)
    assert list(kept.forgotten()) == [("qna", "old")]
    assert kept.size(("qna", "mid")) == 3
