"""The releases that meet another operator, each at another point of its way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.rollouts.models import FAILING, HEALTHY, OLD
from examples.waiting import NotSeenError
from testbed.releases import FAST, SOON_SURE, Release, phase_is, rejected

RPS: Final = 30
BAKE: Final = "200s"
"""Of the step at which a release meets the other operator: longer than the change is watched."""
Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One release: how it comes to where it meets the other operator, and how it goes on."""

    name: str
    stands: str
    """Where it is then, in words."""
    reach: Callable[[Release], None]
    finish: Callable[[Release], None]
    """Waits for the end; raises NotSeenError where it does not come."""
    ends: str
    """What the end is, in words."""
    late: bool = False
    """Whether it stays there for no longer than `BAKE`, so that the others go first."""


def begin(release: Release, **canary: Any) -> None:
    """Have version 1 serve, and users call it."""
    release.spec["canary"] = {**FAST["canary"], **canary}
    release.spec["analysis"] = SOON_SURE
    release.scraped_often()
    release.begins(OLD)
    release.load(rps=RPS)


def _quiet(release: Release) -> None:
    begin(release)


def _promote_the_next(release: Release) -> None:
    release.apply(HEALTHY)
    release.serves(HEALTHY)


def _midway(release: Release) -> None:
    steps = [{"weight": 33, "bake": BAKE}, {"weight": 50, "bake": "5s"}]
    begin(release, steps=steps)
    release.apply(HEALTHY)
    release.wait("the canary to have users", _counted(33))


def _serves_the_next(release: Release) -> None:
    release.serves(HEALTHY)


def _unseen_failure(release: Release) -> None:
    begin(release, steps=[{"weight": 33, "bake": BAKE}, {"weight": 50, "bake": "5s"}])
    _stop_clients(release)
    release.apply(FAILING)
    release.wait("the canary to be reachable", phase_is("Progressing"))


def _is_rolled_back(release: Release) -> None:
    release.cluster.kubectl("scale", "-n", release.space, "deployment/load", "--replicas=1")
    release.wait("version 3 to be rejected", rejected(FAILING))


def _stop_clients(release: Release) -> None:
    where = ("-n", release.space)
    release.cluster.kubectl("scale", *where, "deployment/load", "--replicas=0")
    release.cluster.kubectl("wait", *where, "pod", "-l", "app=load", "--for=delete")


def _asked(release: Release) -> None:
    begin(release, approval="Manual")
    release.apply(HEALTHY)
    release.wait(
        "a person to be asked",
        lambda status: phase_is("Paused")(status) and "annotate" in status["message"],
    )


def _approve(release: Release) -> None:
    release.annotate(approve=release.status()["canary"]["revision"])
    release.serves(HEALTHY)


def _warm(release: Release) -> None:
    begin(release, keepPrevious="30m")
    release.apply(HEALTHY)
    release.serves(HEALTHY)


def _go_back(release: Release) -> None:
    warm = release.pods(OLD)
    release.apply(OLD)
    release.serves(OLD)
    if release.pods(OLD) != warm:
        msg = f"version 1 serves by other pods than those that were warm: {', '.join(warm)}"
        raise NotSeenError(msg)


def _rejected(release: Release) -> None:
    begin(release)
    release.apply(FAILING)
    release.wait("version 3 to be rejected", rejected(FAILING))


def _stays_rejected(release: Release) -> None:
    if release.pods(FAILING):
        msg = "the rejected version has pods again"
        raise NotSeenError(msg)
    _promote_the_next(release)


def _counted(weight: int) -> Callable[[Object], bool]:
    def is_so(status: Mapping[str, Any]) -> bool:
        at = status.get("phase") == "Progressing" and status.get("weight") == weight
        return at and bool(status.get("samples"))

    return is_so


STORIES: Final = (
    Story(
        name="quiet", stands="nothing goes on", reach=_quiet, finish=_promote_the_next,
        ends="the next version promoted",
    ),
    Story(
        name="midway", stands="a good canary at 33 %", reach=_midway, finish=_serves_the_next,
        ends="promoted", late=True,
    ),
    Story(
        name="failing", stands="a failing canary at 33 %, not called yet", reach=_unseen_failure,
        finish=_is_rolled_back, ends="rolled back", late=True,
    ),
    Story(
        name="asked", stands="a person is asked for approval", reach=_asked, finish=_approve,
        ends="promoted by the approval",
    ),
    Story(
        name="warm", stands="promoted, the version before is warm", reach=_warm, finish=_go_back,
        ends="back on the warm pods",
    ),
    Story(
        name="rejected", stands="a version was rejected", reach=_rejected, finish=_stays_rejected,
        ends="not tried again; the next promoted",
    ),
)  # fmt: skip
