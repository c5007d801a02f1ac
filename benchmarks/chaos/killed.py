"""The operator is ended again and again while releases follow each other."""

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from threading import Event
from typing import Any, Final

from benchmarks.chaos.figures import Ending, Row, row_of
from benchmarks.chaos.stage import END_SECONDS, Stage
from benchmarks.chaos.trials import (
    BEGIN,
    SETTLE_SECONDS,
    Trial,
    await_end,
    ending_on_interrupt,
    side_by_side,
)
from benchmarks.rollouts.api import Api, UnansweredError
from benchmarks.rollouts.figures import PROMOTED, ROLLED_BACK
from benchmarks.rollouts.models import FAULTY, GOOD
from cluster.progress import say
from examples.waiting import wait_until
from testbed.releases import OPERATOR_SPACE

KILLS: Final = 50
LANES: Final = 3
LONGEST_PAUSE: Final = 6.0
"""Seconds at most between the moment when an operator acts and its end."""
ACTS_SECONDS: Final = 120
LEASE: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/modelrelease-operator"

Object = dict[str, Any]


def killed_again_and_again(stage: Stage, name: str, does: str, chance: random.Random) -> Row:
    """End the operator while some lanes release one version after another."""
    lanes = [stage.trial(f"{name}-{number}") for number in range(LANES)]
    side_by_side(stage.over, *(partial(each.begin, BEGIN, stage.rps) for each in lanes))
    over = Event()
    with ThreadPoolExecutor(max_workers=LANES) as pool, ending_on_interrupt(stage.over):
        jobs = [pool.submit(_releases, lane, over) for lane in lanes]
        try:
            kills = _kill(stage, chance)
        finally:
            over.set()
        endings = list(chain.from_iterable(job.result() for job in jobs))
    for lane in lanes:
        lane.end()
    must = {
        PROMOTED: sum(ending.version in GOOD for ending in endings),
        ROLLED_BACK: sum(ending.version in FAULTY for ending in endings),
    }
    notes = (f"{kills} ends of the operator during {len(endings)} releases",)
    return row_of(name, does, endings, must=must, notes=notes)


def _versions() -> Iterator[str]:
    """Return good and failing versions in turn, none twice."""
    return chain.from_iterable(zip(GOOD[1:], FAULTY, strict=True))


def _releases(lane: Trial, over: Event) -> list[Ending]:
    """Release one version after another until the operator is left alone."""
    endings: list[Ending] = []
    for version in _versions():
        if over.is_set():
            break
        lane.release(version)
        outcome = await_end(lane, version, 2 * END_SECONDS)
        say(f"{lane.title}: version {version} is {outcome}")
        if over.is_set():
            time.sleep(SETTLE_SECONDS)
        endings.append(lane.ending(version, outcome, faulty=FAULTY))
    return endings


def _kill(stage: Stage, chance: random.Random) -> int:
    """End the operator whenever it acts; return how often."""
    last, api = "", Api(kubeconfig=stage.cluster.kubeconfig)
    for number in range(KILLS):
        last = wait_until(
            "an operator to act",
            lambda: holder(api),
            lambda who, before=last: who not in ("", before),  # type: ignore[misc]
            within=ACTS_SECONDS,
        )
        time.sleep(chance.uniform(0, LONGEST_PAUSE))
        _end(stage, last)
        if number % 10 == 9:
            say(f"the operator was ended {number + 1} times")
    return KILLS


def _end(stage: Stage, pod: str) -> None:
    """End the operator's process, then remove its pod: the kubelet would wait longer each time."""
    where = ("-n", OPERATOR_SPACE)
    found: Object = json.loads(stage.cluster.kubectl("get", "pod", pod, *where, "-o", "json"))
    stage.node.end_below(f"pod{found['metadata']['uid']}")
    stage.cluster.kubectl(
        "delete", "pod", pod, *where, "--grace-period=0", "--force", "--wait=false", check=False
    )


def holder(api: Api) -> str:
    """Return the pod that holds the Lease, empty where it cannot be told."""
    try:
        lease = api.object(LEASE)
    except UnansweredError:
        return ""
    who: str = lease["spec"].get("holderIdentity") or ""
    return who.rpartition("_")[0]
