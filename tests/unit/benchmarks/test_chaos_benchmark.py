"""What the benchmark of faults on a cluster counts, prints and may end: without a cluster."""

import argparse
import json
import os
import signal
import tomllib
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.chaos import __main__ as command
from benchmarks.chaos.faults import FAULTS, Fault
from benchmarks.chaos.figures import Ending, Row, row_of
from benchmarks.chaos.node import Node
from benchmarks.chaos.report import Report, as_json, as_markdown, from_json
from benchmarks.chaos.second_node import containerd_config, kubelet_config
from benchmarks.chaos.trials import OverError, is_waiting, parts, side_by_side
from benchmarks.rollouts.figures import PROMOTED, ROLLED_BACK
from cluster import Cluster, ClusterError
from cluster.names import Subnets
from cluster.native.config import Node as NativeNode
from examples.waiting import NotSeenError
from modelrelease_operator.api.spec import ReleaseSpec

PAIR = {PROMOTED: 1, ROLLED_BACK: 1}


def an_ending(outcome: str = PROMOTED, **others: Any) -> Ending:
    usual: dict[str, Any] = {
        "title": "etcd-good", "version": "2", "outcome": outcome, "seconds": 60.0,
        "before": {("1", "200"): 10}, "after": {("1", "200"): 100, ("2", "200"): 20},
    }  # fmt: skip
    return Ending(**(usual | others))


def a_row(**others: Any) -> Row:
    endings = [an_ending(), an_ending(ROLLED_BACK, seconds=90.0)]
    return replace(row_of("etcd", "etcd is ended", endings, must=PAIR, beside=0), **others)


# -- what is counted ---------------------------------------------------------------------------


def test_requests_are_those_since_the_version_was_applied():
    assert an_ending().requests == 110
    assert an_ending().failed == {}


def test_a_faulty_versions_own_answers_are_no_failure_and_a_request_without_an_answer_is():
    after = {("1", "200"): 50, ("3", "500"): 7, ("none", "reset"): 2}
    assert an_ending(after=after, faulty=("3",)).failed == {"version none: reset": 2}
    assert an_ending(after=after).failed == {"version none: reset": 2, "version 3: 500": 7}


def test_a_row_sums_up_its_releases_and_lasts_until_the_last_has_ended():
    row = a_row()
    assert (row.ended, row.seconds, row.requests, row.lost) == (PAIR, 90.0, 220, 0)
    assert row.as_expected


@pytest.mark.parametrize(
    ("others", "is_right"),
    [
        ({"ended": {PROMOTED: 2}}, False),
        ({"ended": {PROMOTED: 1}}, False),
        ({"failed": {"reset": 1}}, False),
        ({"failed": {"reset": 1}, "loses": "the gateway"}, True),
        ({"ended": {PROMOTED: 2}, "loses": "the gateway"}, False),
    ],
)
def test_a_row_is_missed_for_another_end_or_a_request_that_need_not_fail(
    others: dict[str, Any], is_right: bool
):
    assert a_row(**others).as_expected is is_right


# -- what is told ------------------------------------------------------------------------------


def test_the_table_has_a_line_for_each_fault_and_says_how_requests_failed():
    rows = [a_row(), a_row(fault="gateway", failed={"reset": 3}, loses="the gateway", beside=4)]
    printed = as_markdown(Report(about={"versions": "Kubernetes 1"}, rows=rows))
    assert "| etcd | etcd is ended | 1 promoted, 1 rolled back | 90 | 220 | 0 | 0 |" in printed
    assert "- gateway: failed (by the gateway): 3 reset" in printed
    assert "- etcd:" not in printed


def test_what_was_missed_is_marked_and_what_was_not_tried_is_said():
    report = Report(rows=[a_row(failed={"reset": 1})], failures={"kubelet": "no\nanswer"})
    assert "1 rolled back **(missed)**" in as_markdown(report)
    assert "- kubelet: no answer" in as_markdown(report)
    assert report.missed == ["etcd", "kubelet: not tried"]


def test_figures_are_read_as_they_were_written():
    report = Report(about={"versions": "1"}, rows=[a_row(notes=("why",))], failures={"a": "b"})
    assert from_json(json.loads(json.dumps(as_json(report)))) == report


def test_a_release_waits_for_the_cluster_when_a_condition_says_so():
    assert is_waiting({"conditions": [{"type": "Reconciling", "reason": "WaitingForCluster"}]})
    assert not is_waiting({"conditions": [{"type": "Reconciling", "reason": "Starting"}]})
    assert not is_waiting({})


# -- the faults --------------------------------------------------------------------------------


def test_each_fault_has_a_name_of_its_own():
    names = [fault.name for fault in FAULTS]
    assert sorted(names) == sorted(set(names))


def test_the_releases_specs_can_be_followed():
    spec = {"model": {"uri": "http://store/qna/2"}, **parts(serving={"image": "other:1"})}
    read = ReleaseSpec.model_validate(spec)
    assert read.serving.replicas == 2


def test_the_list_tries_nothing(capsys: pytest.CaptureFixture[str]):
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        fault.name for fault in FAULTS
    ]


# -- a run -------------------------------------------------------------------------------------


def options(**others: Any) -> argparse.Namespace:
    usual = {"only": command.NAMES, "json": None, "rps": 30.0}
    return argparse.Namespace(**(usual | others))


def a_run(**others: Any) -> command.Run:
    return command.Run(options=options(**others), ends_at=float("inf"))


def a_stage() -> Any:
    return SimpleNamespace(over=Event())


def a_fault(name: str, run: Any) -> Fault:
    return Fault(name=name, does="something", run=run)


def test_a_fault_that_cannot_be_tried_leaves_the_others_alone(tmp_path: Path):
    def fails(*_: object) -> Row:
        raise NotSeenError("nobody came")

    run = a_run(json=tmp_path / "chaos.json")
    run.attempt(a_stage(), a_fault("etcd", fails))
    run.attempt(a_stage(), a_fault("kubelet", lambda *_: a_row(fault="kubelet")))
    kept = from_json(json.loads((tmp_path / "chaos.json").read_text()))
    assert kept.missed == ["etcd: not tried"]
    assert [row.fault for row in kept.rows] == ["kubelet"]


def test_after_the_time_of_the_run_nothing_begins():
    run = a_run()
    run.ends_at = 0.0
    run.attempt(a_stage(), a_fault("etcd", pytest.fail))
    assert run.failures == {"etcd": "the time of the run was over"}


def test_what_a_run_has_done_is_not_done_again():
    run = a_run(only=("etcd", "kubelet"))
    run.rows["etcd"] = a_row()
    assert [fault.name for fault in run.chosen()] == ["kubelet"]


def test_an_interruption_ends_what_others_wait_for():
    over = Event()

    def waits() -> None:
        over.wait()
        raise OverError

    def interrupts() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(over, interrupts, waits)
    assert over.is_set()


# -- what may be ended -------------------------------------------------------------------------

OURS, OTHER = "pid:[11]", "pid:[22]"


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was ended, instead of ending it."""
    pids: list[int] = []

    def kill(pid: int, number: int) -> None:
        assert number == signal.SIGKILL
        pids.append(pid)

    monkeypatch.setattr(os, "kill", kill)
    return pids


class Proc:
    """A folder of processes as the kernel shows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, pid: int, ids: str, space: str, cgroup: str = "/", program: str = "x") -> None:
        process = self.folder / str(pid)
        (process / "ns").mkdir(parents=True)
        (process / "ns" / "pid").symlink_to(space)
        (process / "status").write_text(f"Name:\t{program}\nNSpid:\t{ids}\n")
        (process / "cgroup").write_text(f"3:cpu:{cgroup}\n")
        (process / "comm").write_text(f"{program}\n")


def a_node(tmp_path: Path, **programs: int) -> tuple[Node, Proc]:
    """Return a node whose first process is 100, and where its processes are."""
    records = {"native": {"pid": 100}, "pids": programs}
    state = SimpleNamespace(read=records.get)
    cluster = SimpleNamespace(name="chaos", state=state, provider=SimpleNamespace(name="native"))
    proc = Proc(tmp_path)
    proc.has(100, "100 1", OURS)
    return Node(cast(Cluster, cluster), tmp_path), proc


def test_a_program_is_found_by_its_id_inside_and_not_by_its_name(tmp_path: Path):
    node, proc = a_node(tmp_path, etcd=7)
    proc.has(205, "205 7", OURS, program="etcd")
    proc.has(300, "300 7", OTHER, program="etcd")
    proc.has(7, "7", OTHER, program="etcd")
    proc.has(206, "206 9 7", "pid:[33]", program="etcd")
    assert node.host_id("etcd") == 205


def test_a_program_that_does_not_run_is_an_error_that_names_it(tmp_path: Path):
    node, _ = a_node(tmp_path, etcd=7)
    with pytest.raises(ClusterError, match="cluster 'chaos': etcd is no process of its own"):
        node.host_id("etcd")


def test_of_a_pod_every_process_is_ended_and_nothing_of_others(tmp_path: Path, ended: list[int]):
    node, proc = a_node(tmp_path)
    proc.has(301, "301 40 1", OTHER, "/modelrelease-chaos/kubepods/poduid-1/a")
    proc.has(302, "302 41 1", OTHER, "/modelrelease-chaos/kubepods/poduid-2/a")
    proc.has(303, "303 42 1", OTHER, "/modelrelease-chaos-b/kubepods/poduid-1/a")
    proc.has(304, "304", "pid:[1]", "/somebody/poduid-1/a")
    assert node.end_below("poduid-1") == 1
    assert ended == [301]


def test_of_a_pod_one_program_may_be_ended_alone(tmp_path: Path, ended: list[int]):
    node, proc = a_node(tmp_path)
    proc.has(301, "301 40 1", OTHER, "/modelrelease-chaos/poduid-1/a", program="pause")
    proc.has(302, "302 41 1", OTHER, "/modelrelease-chaos/poduid-1/b", program="traefik")
    node.end_below("poduid-1", "traefik")
    assert ended == [302]


def test_a_cluster_whose_programs_are_elsewhere_is_refused():
    kind = SimpleNamespace(name="chaos", provider=SimpleNamespace(name="kind"))
    with pytest.raises(ClusterError, match="provider 'kind'"):
        Node(cast(Cluster, kind)).require()


def test_the_second_node_shares_neither_a_socket_nor_a_folder_nor_a_port_with_the_first():
    first_node = NativeNode("chaos", Subnets(3))
    files = first_node.files()
    first = tomllib.loads(files["containerd.toml"])
    second = tomllib.loads(containerd_config())
    for place in ("root", "state"):
        assert first[place] != second[place]
    assert first["grpc"]["address"] != second["grpc"]["address"]
    assert first["plugins"] == second["plugins"], "the same bridge and the same runtime"
    kubelet = kubelet_config(json.loads(files["kubelet.yaml"]), "/modelrelease-chaos/second")
    assert kubelet["containerRuntimeEndpoint"] == f"unix://{second['grpc']['address']}"
    assert kubelet["port"] != 10250
