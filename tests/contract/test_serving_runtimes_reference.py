"""The reference of serving runtimes says what their data files say."""

from tests.support.runtime_reference import DOCUMENT, parts, table


def test_the_reference_says_what_the_profiles_say():
    _, written, _ = parts()
    assert written == table(), f"python -m tests.support.runtime_reference writes {DOCUMENT} anew"
