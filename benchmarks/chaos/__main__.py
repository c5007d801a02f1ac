"""Break one thing after another on a real cluster while versions are released and users call.

Each fault is met by releases with clients of their own: so many requests a second, half of them
over kept-alive connections and half over fresh ones, none retried. Beside them the same pods stand
behind a plain Service, with the same clients: what fails there fails whoever releases. The cluster
is the command's own, in namespaces of its own, and is taken down at the end; only processes in
those namespaces are ended, by their ids.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final

from benchmarks.chaos import canaries
from benchmarks.chaos.faults import FAULTS, Fault
from benchmarks.chaos.figures import Row
from benchmarks.chaos.node import Node
from benchmarks.chaos.report import Report, as_json, as_markdown, from_json
from benchmarks.chaos.stage import Stage
from benchmarks.chaos.trials import REPLICAS, SCRAPE, OverError, side_by_side
from benchmarks.doc_markers import put
from benchmarks.rollouts import models, rivals
from benchmarks.rollouts.api import UnansweredError
from cluster import Cluster, ClusterError, cluster_for, versions
from cluster.gateways import TRAEFIK
from cluster.progress import say
from examples.waiting import NotSeenError

NAMES: Final = tuple(fault.name for fault in FAULTS)
_EXAMPLES = """\
examples:
  everything, into the document:
    python -m benchmarks.chaos --json chaos.json --into docs/explanation/chaos.md

  two faults, and the cluster stays for a look:
    python -m benchmarks.chaos --only etcd kubelet --keep

  the rest of a run that was interrupted:
    python -m benchmarks.chaos --json chaos.json --go-on

Ends with 1 when a release ended otherwise than it must, or a request failed that need not.
"""


@dataclass(kw_only=True)
class Run:
    """One run: what is left of its time, and what was seen so far."""

    options: argparse.Namespace
    ends_at: float
    rows: dict[str, Row] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    _writing: Lock = field(default_factory=Lock)

    @property
    def report(self) -> Report:
        """What there is, in the order of the faults."""
        rows = [self.rows[name] for name in NAMES if name in self.rows]
        return Report(about=_about(self.options), rows=rows, failures=self.failures)

    def chosen(self) -> list[Fault]:
        """Return what is asked for and not done."""
        return [
            each for each in FAULTS if each.name in self.options.only and each.name not in self.rows
        ]

    def attempt(self, stage: Stage, fault: Fault) -> None:
        """Try a fault; one that cannot be tried leaves the others alone."""
        if stage.over.is_set():
            return
        if time.monotonic() > self.ends_at:
            self.failures[fault.name] = "the time of the run was over"
            return
        say(f"{fault.name}: {fault.does}")
        try:
            row = fault.run(stage, fault)
        except OverError:
            return
        except (ClusterError, NotSeenError, UnansweredError, OSError) as error:
            self.failures[fault.name] = str(error)[:600]
            say(f"{fault.name} could not be tried: {error}")
        else:
            self.rows[fault.name] = row
            said = "as it must" if row.as_expected else "MISSED"
            say(f"{fault.name}: {dict(row.ended)}, {row.lost} of {row.requests} failed: {said}")
        self.keep()

    def keep(self) -> None:
        """Write what there is, so that an interrupted run was not for nothing."""
        if self.options.json:
            with self._writing:
                self.options.json.write_text(json.dumps(as_json(self.report), indent=1))


def _prepare(cluster: Cluster, faults: Sequence[Fault]) -> None:
    """Bring the cluster up with all that the faults need."""
    cluster.up()
    cluster.require_ours()
    cluster.install_operator()
    if any(fault.gateway for fault in faults):
        rivals.give_gateway_room(cluster, cluster.install_gateway(TRAEFIK.name))


def _tried(options: argparse.Namespace) -> Report:
    """Try the faults; Ctrl-C ends that, keeps what was done and takes the cluster down."""
    run = Run(options=options, ends_at=time.monotonic() + 60 * options.minutes)
    if options.go_on and options.json and options.json.exists():
        run.rows = {row.fault: row for row in from_json(json.loads(options.json.read_text())).rows}
    chosen = run.chosen()
    if not chosen:
        return run.report
    cluster = cluster_for(options.cluster, provider="native")
    Node(cluster).require()
    try:
        _prepare(cluster, chosen)
        _try(run, cluster, chosen)
    except KeyboardInterrupt:
        say("interrupted: what was done is kept")
    finally:
        if not options.keep:
            cluster.down()
    return run.report


def _try(run: Run, cluster: Cluster, faults: Sequence[Fault]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(
            cluster=cluster,
            node=Node(cluster),
            artifacts=models.stocked(cluster, Path(folder), canaries.VERSIONS),
            rps=run.options.rps,
        )
    for fault in faults:
        if fault.alone:
            run.attempt(stage, fault)
    stage.leave()
    jobs = [partial(run.attempt, stage, fault) for fault in faults if not fault.alone]
    if jobs:
        side_by_side(stage.over, *jobs, most=run.options.at_once)


def _about(options: argparse.Namespace) -> dict[str, str]:
    return {
        "versions": f"Kubernetes {versions.native('kubernetes')}, {TRAEFIK.version}, "
        f"Prometheus {versions.tool('prometheus')}",
        "releases": f"{REPLICAS} pods, steps of 33 and 50 %, scraped every {SCRAPE}, "
        f"{options.rps:g} requests a second to each",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Try and print; 1 when something was not as it must be."""
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(f"{fault.name:<22} {fault.does}" for fault in FAULTS))
        return 0
    report = from_json(json.loads(options.show.read_text())) if options.show else _tried(options)
    print(json.dumps(as_json(report)) if options.output == "json" else as_markdown(report))
    if options.into:
        put(options.into, as_markdown(report), mark="chaos")
    for missed in report.missed:
        say(f"missed: {missed}")
    return 1 if report.missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--list", action="store_true", help="say what there is, and try nothing")
    option(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME",
        help="these faults, not all of them",
    )  # fmt: skip
    option("--minutes", type=float, default=40, help="begin nothing later (default: %(default)s)")
    option("--rps", type=float, default=30, help="requests a second to each (default: 30)")
    option("--at-once", type=int, default=4, help="bad canaries at the same time (default: 4)")
    option("--cluster", default="chaos", help="name of the cluster (default: chaos)")
    option("--keep", action="store_true", help="leave the cluster up")
    option("--json", type=Path, metavar="FILE", help="write all figures as they come")
    option("--go-on", action="store_true", help="leave out what the file of --json has already")
    option("--show", type=Path, metavar="FILE", help="print what --json wrote, and try nothing")
    option("--into", type=Path, metavar="FILE", help="put the table between the marks of a file")
    option("-o", "--output", choices=["table", "json"], default="table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
