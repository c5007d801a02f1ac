"""Changes of what is stored are checked: a copy has known fields and values of their types."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from modelrelease_operator.api.durations import Duration
from modelrelease_operator.api.spec import ErrorRateGate, Gate
from modelrelease_operator.api.status import Phase, Status


def test_a_copy_has_the_change_and_the_original_does_not():
    before = Status(weight=10)
    after = before.but(weight=50, phase=Phase.PROGRESSING)
    assert (before.weight, before.phase) == (10, Phase.PENDING)
    assert (after.weight, after.phase) == (50, Phase.PROGRESSING)


def test_a_field_that_does_not_exist_is_refused_by_name():
    with pytest.raises(TypeError, match="Status has no field wieght: it has uid, "):
        Status().but(wieght=50)


def test_a_value_of_another_type_is_refused():
    with pytest.raises(ValidationError, match="valid integer"):
        Status().but(weight="not a number")


def test_a_copy_of_a_gate_asks_what_the_copy_says_and_not_what_the_original_said():
    gate = Gate(name="errors", error_rate=ErrorRateGate(max_percent=1))
    assert isinstance(gate.settings, ErrorRateGate)
    assert gate.but(error_rate=ErrorRateGate(max_percent=2)).settings == ErrorRateGate(
        max_percent=2
    )


def test_a_duration_is_the_text_that_was_written_and_knows_its_span():
    duration = Duration("1h30m")
    assert duration == "1h30m"
    assert duration.span == timedelta(minutes=90)


def test_a_duration_that_cannot_be_read_is_none():
    with pytest.raises(ValueError, match="units s, m, h or d"):
        Duration("soon")
