"""A borrowed cluster is left as it was found."""

import json

import pytest

from cluster import existing_cleanup
from cluster.errors import ClusterError
from cluster.state import State


class Borrowed:
    """Answers `kubectl` for a cluster that holds a few objects, and notes what was deleted."""

    def __init__(self, *objects, mark=None):
        self.objects = set(objects)
        self.mark = mark
        self.deleted = []

    def __call__(self, verb, *args, check=True):
        if verb == "delete":
            self.deleted += [arg for arg in args if not arg.startswith("-")]
            return ""
        if args[:2] == ("configmap", existing_cleanup.MARKER):
            return json.dumps({"data": self.mark}) if self.mark else ""
        return "found" if "/".join(args[:2]) in self.objects else ""


@pytest.fixture
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = State("mine")
    made.create()
    made.write("cluster", {"id": "ours"})
    return made


def test_a_cluster_with_a_prometheus_of_its_own_is_refused(state):
    with pytest.raises(ClusterError, match="monitoring/prometheus is in this context"):
        existing_cleanup.enter(Borrowed("deployment/prometheus", "namespace/monitoring"), state)


def test_a_cluster_that_carries_the_mark_of_another_name_is_refused_by_that_name(state):
    with pytest.raises(ClusterError, match="--name dev"):
        existing_cleanup.enter(Borrowed(mark={"name": "dev", "id": "another"}), state)


def test_a_cluster_that_we_entered_before_is_entered_again(state):
    existing_cleanup.enter(
        Borrowed("deployment/prometheus", mark={"name": "mine", "id": "ours"}), state
    )


def test_a_namespace_that_was_there_before_us_stays_when_we_leave(state, tmp_path):
    existing_cleanup.enter(Borrowed("namespace/monitoring"), state)
    cluster = Borrowed("namespace/monitoring", mark={"name": "mine", "id": "ours"})
    existing_cleanup.leave(cluster, state, tmp_path / "kubeconfig")
    assert "deployment/prometheus" in cluster.deleted
    assert "namespace" not in cluster.deleted


def test_a_namespace_that_came_with_us_goes_with_us(state, tmp_path):
    existing_cleanup.enter(Borrowed(), state)
    cluster = Borrowed(mark={"name": "mine", "id": "ours"})
    existing_cleanup.leave(cluster, state, tmp_path / "kubeconfig")
    assert "namespace" in cluster.deleted


def test_nothing_is_deleted_from_a_cluster_without_our_mark(state, tmp_path):
    cluster = Borrowed("namespace/monitoring", mark={"name": "theirs", "id": "another"})
    existing_cleanup.leave(cluster, state, tmp_path / "kubeconfig")
    assert cluster.deleted == []
