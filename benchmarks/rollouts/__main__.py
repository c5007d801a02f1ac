"""Release the same models by this operator, by Argo Rollouts and by Flagger, on one cluster.

Each contender has the same pods, the same steps and clients of its own: so many requests a second,
half of them over kept-alive connections and half over fresh ones. A healthy version is released,
then one that fails on a tenth of its requests. Of this operator alone are measured the share of
requests at each weight of a Gateway, and promotions and rollbacks in a row.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Final

from benchmarks.doc_markers import put
from benchmarks.rollouts import models, objects, ours, rivals
from benchmarks.rollouts.api import Api, UnansweredError
from benchmarks.rollouts.contenders import CONTENDERS, ArgoRollouts, Contender, Flagger, Ours
from benchmarks.rollouts.courses import run_course
from benchmarks.rollouts.figures import FAILING, HEALTHY, UNDECIDED, Course, Share, Streak
from benchmarks.rollouts.report import Report, as_json, as_markdown, from_json
from cluster import Cluster, ClusterError, cluster_for, versions
from cluster.gateways import GATEWAYS, TRAEFIK, Gateway, gateway_of
from cluster.progress import say
from examples.waiting import NotSeenError

SHARES, STREAK = "shares", "streak"
PARTS: Final = (*(contender.name for contender in CONTENDERS), SHARES, STREAK)
PATIENCE_SECONDS: Final = 480
"""For one release: longer than any of them takes that ends at all."""
_EXAMPLES = """\
examples:
  everything, as the recorded run:
    python -m benchmarks.rollouts --json rollouts.json --into benchmarks/README.md

  ours alone, with fewer requests:
    python -m benchmarks.rollouts --only ours-replicas ours-gateway shares --requests 2000

  compile the rivals, and nothing more:
    python -m benchmarks.rollouts --prepare

Ends with 1 when ours lost a request, was further from a weight than chance, or a part could not be measured.
Remove the cluster:  python -m cluster down --name rollouts
"""  # noqa: E501


@dataclass(kw_only=True)
class Run:
    """One run: its cluster, what is left of its time, and what was measured so far."""

    cluster: Cluster
    api: Api
    artifacts: dict[str, objects.Artifact]
    options: argparse.Namespace
    ends_at: float
    about: dict[str, str]
    courses: list[Course] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    streaks: list[Streak] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    _writing: Lock = field(default_factory=Lock)

    @property
    def gateway(self) -> Gateway:
        """Return by which Gateway those go that go by one."""
        return gateway_of(self.options.gateway)

    def rest(self) -> float:
        """Return how many seconds are left, at least one: what waits shall say what for."""
        return max(1.0, self.ends_at - time.monotonic())

    @property
    def report(self) -> Report:
        """What there is."""
        return Report(
            about=self.about,
            courses=self.courses,
            shares=self.shares,
            streaks=self.streaks,
            failures=self.failures,
        )

    def attempt(self, part: str, work: Callable[[], None]) -> None:
        """Do a part; one that cannot be measured leaves the others alone."""
        if part not in self.options.only:
            return
        if time.monotonic() > self.ends_at:
            self.failures[part] = "the time of the run was over"
            return
        try:
            work()
        except (ClusterError, NotSeenError, UnansweredError, OSError) as error:
            self.failures[part] = str(error)[:600]
            say(f"{part} could not be measured: {error}")
        self.keep()

    def keep(self) -> None:
        """Write what there is, so that an interrupted run was not for nothing."""
        if self.options.json:
            with self._writing:
                self.options.json.write_text(json.dumps(as_json(self.report), indent=1))


def _contests(run: Run) -> None:
    """Run the contenders, some at the same time: a healthy release each, then a failing one."""
    chosen = [each for each in CONTENDERS if each.name in run.options.only]
    at_once = run.options.at_once
    for first in range(0, len(chosen), at_once):
        contenders = [
            each(cluster=run.cluster, api=Api(kubeconfig=run.cluster.kubeconfig),
                 artifacts=run.artifacts, gateway=run.gateway)
            for each in chosen[first : first + at_once]
        ]  # fmt: skip
        _side_by_side(run, contenders, lambda each: each.begin(models.OLD, run.options.rps))
        _side_by_side(
            run, contenders, lambda each: _course(run, each, HEALTHY, models.OLD, models.HEALTHY)
        )
        _side_by_side(
            run,
            contenders,
            lambda each: _course(run, each, FAILING, models.HEALTHY, models.FAILING),
        )
        for contender in contenders:
            contender.end()


def _side_by_side(
    run: Run, contenders: Sequence[Contender], work: Callable[[Contender], None]
) -> None:
    """Do the same for several contenders at once, without those that failed before."""
    able = [each for each in contenders if each.name not in run.failures]
    with ThreadPoolExecutor(max_workers=max(1, len(able))) as pool:
        for _ in pool.map(lambda each: run.attempt(each.name, lambda: work(each)), able):
            pass


def _course(run: Run, contender: Contender, kind: str, old: str, new: str) -> None:
    within = min(PATIENCE_SECONDS, run.rest())
    course = run_course(contender, kind, old=old, new=new, within=within)
    run.courses.append(course)
    if course.end == UNDECIDED:
        msg = f"version {new} was neither promoted nor rolled back within {within:.0f} s"
        raise NotSeenError(msg)


def _ours_alone(run: Run) -> None:
    """Count shares while releases follow each other: the one needs clients, the other time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        jobs = [
            pool.submit(run.attempt, SHARES, lambda: _shares(run)),
            pool.submit(run.attempt, STREAK, lambda: _streaks(run)),
        ]
    for job in jobs:
        job.result()


def _shares(run: Run) -> None:
    run.shares += ours.shares(
        _setting(run, models.GOOD), requests=run.options.requests, rps=ours.SHARE_RPS
    )


def _streaks(run: Run) -> None:
    """Run both providers at the same time; each has half of the requests."""

    def one(kind: type[Ours]) -> Streak:
        setting = _setting(run, (*models.GOOD, *models.FAULTY))
        requests = run.options.streak_requests // 2
        return ours.streak(kind, setting, requests=requests, rps=ours.STREAK_RPS)

    with ThreadPoolExecutor(max_workers=2) as pool:
        run.streaks += pool.map(one, (ours.StreakByReplicas, ours.StreakByGateway))


def _setting(run: Run, names: Sequence[str]) -> ours.Setting:
    return ours.Setting(
        cluster=run.cluster,
        api=Api(kubeconfig=run.cluster.kubeconfig),
        artifacts=models.only(run.artifacts, names),
        rest=run.rest,
        gateway=run.gateway,
    )


def _prepared(options: argparse.Namespace) -> Cluster:
    """Bring the cluster up with all that the chosen parts need."""
    chosen = set(options.only)
    # First, so that nothing compiles while something is measured.
    rivals.compile_rivals(
        *([rivals.ARGO] if ArgoRollouts.name in chosen else []),
        *([rivals.FLAGGER] if Flagger.name in chosen else []),
    )
    cluster = cluster_for(options.cluster)
    cluster.up()
    cluster.require_ours()
    cluster.install_operator()
    rivals.give_gateway_room(cluster, cluster.install_gateway(options.gateway))
    if ArgoRollouts.name in chosen:
        rivals.install_argo(cluster)
    if Flagger.name in chosen:
        rivals.install_flagger(cluster)
    return cluster


def _measured(options: argparse.Namespace) -> Report:
    began = time.monotonic()
    cluster = _prepared(options)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            cluster=cluster,
            api=Api(kubeconfig=cluster.kubeconfig),
            artifacts=models.stocked(cluster, Path(folder)),
            options=options,
            ends_at=time.monotonic() + 60 * options.minutes,
            about=_about(options),
        )
    _contests(run)
    _ours_alone(run)
    run.about["took"] = f"{(time.monotonic() - began) / 60:.0f} minutes"
    run.about["load average at the end"] = f"{os.getloadavg()[0]:.1f}"
    run.keep()
    return run.report


def _about(options: argparse.Namespace) -> dict[str, str]:
    argo, flagger = rivals.ARGO.version, rivals.FLAGGER.version
    return {
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "load average at the start": f"{os.getloadavg()[0]:.1f}",
        "versions": f"Argo Rollouts {argo}, Flagger {flagger}, "
        f"Kubernetes {versions.native('kubernetes')}, {gateway_of(options.gateway).version}, "
        f"Prometheus {versions.tool('prometheus')}, scrapes every 15 s",
        "releases": f"{objects.REPLICAS} pods, steps of {objects.STEP_SECONDS} s at "
        f"{', '.join(map(str, objects.WEIGHTS))} %, {options.rps:g} requests a second, "
        f"{options.at_once} contenders at once",
    }


def _shown(file: Path) -> Report:
    return from_json(json.loads(file.read_text()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when ours did not keep what it promises."""
    options = _parser().parse_args(arguments)
    if options.prepare:
        rivals.compile_rivals(rivals.ARGO, rivals.FLAGGER)
        return 0
    report = _shown(options.show) if options.show else _measured(options)
    print(json.dumps(as_json(report)) if options.output == "json" else as_markdown(report))
    if options.into:
        put(options.into, as_markdown(report), mark="rollouts")
    for missed in report.missed:
        say(f"missed: {missed}")
    return 1 if report.missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollouts",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts, not all of them")
    option(
        "--minutes", type=float, default=40,
        help="begin nothing later, wait for nothing longer (default: %(default)s)",
    )  # fmt: skip
    option("--at-once", type=int, default=2, help="contenders at the same time (default: 2)")
    option("--rps", type=float, default=100, help="requests a second to each (default: 100)")
    option(
        "--requests", type=int, default=ours.SHARE_REQUESTS, metavar="N",
        help="over which a share is counted (default: %(default)s)",
    )  # fmt: skip
    option(
        "--streak-requests", type=int, default=ours.STREAK_REQUESTS, metavar="N",
        help="at least, while ours promotes and rolls back in turn (default: %(default)s)",
    )  # fmt: skip
    option(
        "--gateway", choices=GATEWAYS, default=TRAEFIK.name,
        help="Gateway API implementation (default: %(default)s)",
    )  # fmt: skip
    option("--cluster", default="rollouts", help="name of the cluster (default: rollouts)")
    option("--prepare", action="store_true", help="compile the rivals, and nothing more")
    option("--json", type=Path, metavar="FILE", help="write all figures as they come")
    option("--show", type=Path, metavar="FILE", help="print what --json wrote, and measure nothing")
    option("--into", type=Path, metavar="FILE", help="put the tables between the marks of a file")
    option("-o", "--output", choices=["table", "json"], default="table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
