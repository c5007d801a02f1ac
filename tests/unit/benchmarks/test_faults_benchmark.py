"""What the benchmark of faults prints, and that who stops it loses nothing."""

import json
from collections.abc import Iterator

import pytest

from benchmarks import faults
from testbed.simulation.audit import Violation
from testbed.simulation.runner import Outcome

HELD = Outcome(5, 20, None)
FAILED = Outcome(4, 30, Violation("weights add up", "weight 120 in Progressing"))


def test_it_prints_how_many_held_and_which_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(faults, "outcomes_of", lambda *_: iter((HELD, FAILED)))
    assert faults.main(["--seeds", "2", "--first", "4", "-o", "json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"held": 1, "failed": [4]}
    assert "--story 4" in printed.err


def test_what_was_done_is_kept_when_somebody_stops_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def stopped(*_: object) -> Iterator[Outcome]:
        yield HELD
        raise KeyboardInterrupt

    monkeypatch.setattr(faults, "outcomes_of", stopped)
    assert faults.main(["--seeds", "1000"]) == 0
    assert "1 of 1 seeds held, in 20 passes" in capsys.readouterr().out
