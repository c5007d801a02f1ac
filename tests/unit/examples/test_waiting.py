"""What a person is told when something did not come: a sentence, and no dump."""

import pytest

from examples.waiting import NotSeenError, wait_until


def test_a_release_that_did_not_end_is_told_by_its_phase_and_its_own_sentence():
    status = {
        "phase": "Paused",
        "message": "canary 2 cannot be seen",
        "evidence": {"x": "y" * 8000},
    }
    with pytest.raises(NotSeenError) as told:
        wait_until("version 2 to be stable", lambda: status, lambda _: False, within=0)
    assert told.value.sentence == (
        "waited 0 s for version 2 to be stable; it is Paused: canary 2 cannot be seen"
    )
    assert "y" * 8000 in str(told.value), "a test's log has all of it"


def test_anything_else_is_told_by_its_beginning():
    with pytest.raises(NotSeenError) as told:
        wait_until("a pod", lambda: ["x" * 900], lambda _: False, within=0)
    assert len(told.value.sentence) < 260
