"""Argo Rollouts and Flagger beside this operator: the same pods on the same nodes, in one run.

    python -m benchmarks.scale_rivals --cluster NAME [--kwok DIR] [--releases N] [--into FILE]

One contender after the other has so many releases of one pod each, begun in one moment, then asked
for another version and judged for a while: every 5 s, by a metric that is always good. The rivals
are compiled and installed as `benchmarks.rollouts` does, and ask the cluster's Prometheus for a
constant; ours reads counters of every pod from a stand-in. What is measured is each one's
controller alone, whose process runs on this machine.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import fakenodes
from benchmarks.doc_markers import put
from benchmarks.fakenodes import MARK, Bench
from benchmarks.operator import Process
from benchmarks.rollouts import rivals
from benchmarks.rollouts.objects import PROMETHEUS
from benchmarks.scale import Site, cluster_site
from cluster import Cluster
from cluster.progress import say
from cluster.toolchain import Upstream
from examples import fixtures

LOOK_SECONDS: Final = 5
"""Between two looks of ours at a canary, and as often are the rivals told to look."""
SETTLE_SECONDS: Final = 20
PATIENCE_SECONDS: Final = 600
MARK_IN_DOCUMENT: Final = "scale beside rivals"
IMAGE: Final = "models.example/any:1"
"""Never pulled: kwok's pods are ready without."""
POD_SECURITY: Final = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
SECURITY: Final = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""As restricted namespaces ask of every pod, and as ours has it."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a contender's controller cost."""

    name: str
    begun_seconds: float
    """From the first object on, until every release serves."""
    begun_cpu: float
    """Processor seconds meanwhile."""
    memory: float
    """Megabytes afterwards."""
    judged_cores: float
    """Processors in use while every release has a canary that is judged."""
    judged_memory: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A rival: how it is installed, and what a user applies."""

    name: str
    upstream: Upstream
    space: str
    deployment: str
    install: Callable[[Cluster], None]
    kind: str
    """The path of its kind, without the namespace."""
    ready: tuple[str, object]
    """The column of its table and the value there of a release that serves."""
    judged: tuple[str, object]
    """And of one that is judged."""
    common: Callable[[], Sequence[tuple[str, Object]]]
    """What is made once, each with the path of its kind."""
    first: Callable[[str], Sequence[tuple[str, Object]]]
    """What is made for each release."""
    changed: str
    """The path of the kind whose template a new version changes."""


def _template(name: str) -> Object:
    """Return pods that only kwok's nodes take, and that a version is nothing but a note on."""
    return {
        "metadata": {"labels": {"app": name}, "annotations": {"version": "1"}},
        "spec": {
            "securityContext": POD_SECURITY,
            "containers": [{"name": "any", "image": IMAGE, "securityContext": SECURITY}],
            "nodeSelector": {"type": "fake"},
            "tolerations": [{"key": MARK, "operator": "Exists"}],
        },
    }


def _one_pod(name: str) -> Object:
    """Return what a Rollout and a Deployment say alike."""
    return {
        "replicas": 1,
        "selector": {"matchLabels": {"app": name}},
        "template": _template(name),
    }


def _rollout(name: str) -> Sequence[tuple[str, Object]]:
    analysis = {"templates": [{"templateName": "good"}]}
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            **_one_pod(name),
            "strategy": {
                "canary": {
                    "analysis": analysis,
                    "steps": [{"setWeight": 50}, {"pause": {"duration": "9h"}}],
                }
            },
        },
    }
    return [("/apis/argoproj.io/v1alpha1/{}/rollouts", body)]


def _analysis_template() -> Sequence[tuple[str, Object]]:
    metric = {
        "name": "good",
        "interval": f"{LOOK_SECONDS}s",
        "successCondition": "result[0] >= 0.5",
        "provider": {"prometheus": {"address": PROMETHEUS, "query": "vector(1)"}},
    }
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": "good"},
        "spec": {"metrics": [metric]},
    }
    return [("/apis/argoproj.io/v1alpha1/{}/analysistemplates", body)]


def _canary(name: str) -> Sequence[tuple[str, Object]]:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": _one_pod(name),
    }
    metric = {
        "name": "good",
        "templateRef": {"name": "good"},
        "thresholdRange": {"min": 0.5},
        "interval": "1m",
    }
    analysis = {"interval": f"{LOOK_SECONDS}s", "threshold": 5, "iterations": 9999}
    canary = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": name},
        "spec": {
            # Weights need a gateway; what is looked at and written is the same without.
            "provider": "kubernetes",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "service": {"port": 80},
            "analysis": {**analysis, "metrics": [metric]},
        },
    }
    return [
        ("/apis/apps/v1/{}/deployments", deployment),
        ("/apis/flagger.app/v1beta1/{}/canaries", canary),
    ]


def _metric_template() -> Sequence[tuple[str, Object]]:
    body = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "MetricTemplate",
        "metadata": {"name": "good"},
        "spec": {"provider": {"type": "prometheus", "address": PROMETHEUS}, "query": "vector(1)"},
    }
    return [("/apis/flagger.app/v1beta1/{}/metrictemplates", body)]


RIVALS: Final = (
    Rival(
        name="Argo Rollouts",
        upstream=rivals.ARGO,
        space=rivals.ARGO_SPACE,
        deployment="argo-rollouts",
        install=rivals.install_argo,
        kind="/apis/argoproj.io/v1alpha1/{}/rollouts",
        ready=("Available", 1),
        judged=("Available", 2),
        common=_analysis_template,
        first=_rollout,
        changed="/apis/argoproj.io/v1alpha1/{}/rollouts",
    ),
    Rival(
        name="Flagger",
        upstream=rivals.FLAGGER,
        space=rivals.FLAGGER_SPACE,
        deployment="flagger",
        install=rivals.install_flagger,
        kind="/apis/flagger.app/v1beta1/{}/canaries",
        ready=("Status", "Initialized"),
        judged=("Status", "Progressing"),
        common=_metric_template,
        first=_canary,
        changed="/apis/apps/v1/{}/deployments",
    ),
)


async def cost_of(bench: Bench, rival: Rival, number: int, seconds: float) -> Cost:
    """Install a rival, measure it, and take away what it made."""
    cluster, server = bench.cluster, bench.server
    rival.install(cluster)
    controller = Process(pid=_pid_of(rival.upstream.program))
    space = f"scale-{rival.deployment}"
    fixtures.apply(cluster, fixtures.namespace(space))
    where = f"namespaces/{space}"
    try:
        for path, body in rival.common():
            await server.make(path.format(where), [body])
        names = [f"any-{index}" for index in range(number)]
        cpu, began = controller.cpu(), time.monotonic()
        for at, _ in enumerate(rival.first("any")):
            made = [rival.first(name)[at] for name in names]
            await server.make(made[0][0].format(where), [body for _, body in made])
        await _until(bench, rival, where, rival.ready, number)
        took, spent = time.monotonic() - began, controller.cpu() - cpu
        await asyncio.sleep(SETTLE_SECONDS)
        memory = controller.memory()
        await _ask_for_another(bench, rival.changed.format(where), names)
        await _until(bench, rival, where, rival.judged, number)
        await asyncio.sleep(SETTLE_SECONDS)
        cores = await _cores(controller, seconds)
        return Cost(
            name=rival.name,
            begun_seconds=took,
            begun_cpu=spent,
            memory=memory,
            judged_cores=cores,
            judged_memory=controller.memory(),
        )
    finally:
        stop = ("scale", f"deployment/{rival.deployment}", "-n", rival.space, "--replicas=0")
        cluster.kubectl(*stop)
        cluster.kubectl("delete", "namespace", space, "--wait=false")


async def cost_of_ours(site: Site, number: int, seconds: float) -> Cost:
    """Measure the same of this operator."""
    cpu, began = site.cpu(), time.monotonic()
    await site.apply(range(number), "1", first=True)
    await _all_in(site, "Stable", number)
    took, spent = time.monotonic() - began, site.cpu() - cpu
    await asyncio.sleep(SETTLE_SECONDS)
    memory = site.memory()
    await site.apply(range(number), "2", first=False)
    await _all_in(site, "Progressing", number)
    await asyncio.sleep(SETTLE_SECONDS)
    cores = await _cores(site, seconds)
    return Cost(
        name="modelrelease",
        begun_seconds=took,
        begun_cpu=spent,
        memory=memory,
        judged_cores=cores,
        judged_memory=site.memory(),
    )


async def _all_in(site: Site, phase: str, number: int) -> None:
    await site.mirror.until(lambda: site.mirror.count(phase) >= number, within=PATIENCE_SECONDS)


async def _cores(controller: Process, seconds: float) -> float:
    cpu, began = controller.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    return (controller.cpu() - cpu) / (time.monotonic() - began)


async def _until(
    bench: Bench, rival: Rival, where: str, cell: tuple[str, object], number: int
) -> None:
    """Wait until so many releases of a rival show a value, as its own table does."""
    path = rival.kind.format(where)
    seen = -1
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while seen < number:
                seen = await bench.server.shown(path, *cell)
                await asyncio.sleep(0.5)
    except TimeoutError:
        column, value = cell
        msg = (
            f"{rival.name}: {seen} of {number} show {value} as their {column} after "
            f"{PATIENCE_SECONDS} s"
        )
        raise TimeoutError(msg) from None


async def _ask_for_another(bench: Bench, path: str, names: Sequence[str]) -> None:
    template = {"metadata": {"annotations": {"version": "2"}}}
    patch = {"spec": {"template": template}}
    headers = {"Content-Type": "application/merge-patch+json"}
    free = asyncio.Semaphore(fakenodes.AT_THE_SAME_TIME)

    async def one(name: str) -> None:
        url = f"{bench.server.url}{path}/{name}"
        async with free, bench.server.session.patch(url, json=patch, headers=headers) as answer:
            answer.raise_for_status()

    await asyncio.gather(*map(one, names))


def _pid_of(program: str) -> int:
    """Return the process of a program that a pod of the cluster runs on this machine."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):
            if entry.readlink().name == program:
                found.append(int(entry.parent.name))
    if len(found) != 1:
        msg = f"one process of {program} should run on this machine, and {len(found)} do: {found}"
        raise RuntimeError(msg)
    return found[0]


async def compared(name: str, kwok: Path | None, number: int, seconds: float) -> list[Cost]:
    """Measure all, one after the other, on one cluster."""
    rivals.compile_rivals(*(rival.upstream for rival in RIVALS))
    costs = []
    async with fakenodes.bench_of(name, kwok) as bench:
        async with cluster_site(bench) as site:
            costs.append(await cost_of_ours(site, number, seconds))
            say(json.dumps(asdict(costs[-1])))
        for rival in RIVALS:
            costs.append(await cost_of(bench, rival, number, seconds))
            say(json.dumps(asdict(costs[-1])))
    return costs


def table_of(costs: Sequence[Cost], number: int) -> str:
    """Return the costs side by side, as Markdown."""
    rows: list[tuple[str, Callable[[Cost], str]]] = [
        (f"{number} begun at once, until all serve", lambda cost: f"{cost.begun_seconds:.3g} s"),
        ("processor time for it", lambda cost: f"{cost.begun_cpu:.3g} s"),
        ("memory then", lambda cost: f"{cost.memory:.3g} MB"),
        (f"{number} judged every {LOOK_SECONDS} s", lambda cost: f"{cost.judged_cores:.3g} cores"),
        ("memory then", lambda cost: f"{cost.judged_memory:.3g} MB"),
    ]
    head = f"| | {' | '.join(cost.name for cost in costs)} |"
    rule = f"|{'---|' * (len(costs) + 1)}"
    lines = [f"| {what} | {' | '.join(map(told, costs))} |" for what, told in rows]
    return "\n".join([head, rule, *lines])


def main() -> int:
    """Print the table, or write it into a document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_rivals", description=__doc__)
    parser.add_argument("--cluster", metavar="NAME", default="scale", help="a cluster of ours")
    parser.add_argument("--kwok", type=Path, metavar="DIR", help="compile kwok there and keep it")
    parser.add_argument("--releases", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each time of watching")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write the table into a document")
    options = parser.parse_args()
    asked = (options.cluster, options.kwok, options.releases, options.seconds)
    costs = asyncio.run(compared(*asked))
    table = table_of(costs, options.releases)
    if options.into:
        load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
        said = f"{os.cpu_count()} cores, load averages of {load} at the end:"
        put(options.into, f"{said}\n\n{table}", mark=MARK_IN_DOCUMENT)
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
