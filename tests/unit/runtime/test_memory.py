"""What a process keeps of a release between passes is what it would read again."""

from typing import Any

import pytest

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.errors import Invalid
from modelrelease_operator.runtime.memory import Memory

MODEL = {"uri": "pvc://models/1", "version": "1", "sha256": "1" * 64}


def a_release(*, generation: int = 1, status: Any = None, **spec: Any) -> dict[str, Any]:
    meta = {"name": "qna", "namespace": "ml", "uid": "u", "generation": generation}
    return {"metadata": meta, "spec": {"model": MODEL, **spec}, "status": status}


def spec_of(memory: Memory, release: dict[str, Any]) -> ReleaseSpec:
    return memory.spec_of(release["spec"], generation=release["metadata"]["generation"])


def template(flag: Any) -> dict[str, Any]:
    return {"podTemplate": {"spec": {"aFieldOfTomorrow": flag}}}


def test_a_spec_that_is_the_same_is_read_once():
    memory = Memory(uid="u")
    assert spec_of(memory, a_release()) is spec_of(memory, a_release())


def test_a_spec_that_changes_is_read_again():
    memory = Memory(uid="u")
    assert not spec_of(memory, a_release()).paused
    assert spec_of(memory, a_release(generation=2, paused=True)).paused


def test_a_spec_is_read_again_where_only_its_defaults_changed():
    """A newer CRD fills in other defaults, and counts no generation for that."""
    memory = Memory(uid="u")
    assert not spec_of(memory, a_release()).paused
    assert spec_of(memory, a_release(paused=True)).paused


def test_a_spec_is_read_again_where_the_change_is_one_that_python_calls_none():
    memory = Memory(uid="u")
    spec_of(memory, a_release(serving=template(flag=1)))
    again = spec_of(memory, a_release(generation=2, serving=template(flag=True)))
    assert again.serving.pod_template["spec"]["aFieldOfTomorrow"] is True


def test_a_spec_that_cannot_be_followed_is_refused_again_and_again():
    memory = Memory(uid="u")
    refused = a_release(generation=2, paused="perhaps")
    for _ in range(2):
        spec_of(memory, a_release())
        with pytest.raises(Invalid):
            spec_of(memory, refused)


def test_a_stored_status_is_read_once_and_another_is_read():
    memory, release = Memory(uid="u"), a_release(status={"uid": "u", "message": "one"})
    first = memory.status_of(release)
    assert memory.status_of(release).message == "one"
    assert memory.read is not None
    assert memory.read[1] == first
    assert memory.status_of(a_release(status={"uid": "u", "message": "two"})).message == "two"


def test_the_same_status_from_the_api_server_again_is_not_taken_for_the_one_that_was_read():
    """By the object itself: somebody may have written it anew with a true where a 1 was."""
    memory = Memory(uid="u")
    memory.status_of(a_release(status={"uid": "u", "judgedBy": {"x": 1}}))
    read = memory.status_of(a_release(status={"uid": "u", "judgedBy": {"x": True}}))
    assert read.judged_by == {"x": True}
    assert read.judged_by["x"] is True


def test_of_a_release_at_rest_nothing_is_kept_that_can_be_read_again():
    memory, release = Memory(uid="u"), a_release(status={"phase": "Stable"})
    first, spec = memory.status_of(release), spec_of(memory, release)
    memory.rest()
    assert memory == Memory(uid="u", troubles=memory.troubles)
    assert (memory.status_of(release), spec_of(memory, release)) == (first, spec)
