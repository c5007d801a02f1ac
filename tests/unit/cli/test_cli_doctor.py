"""What `modelrelease doctor` says of a cluster, against an API server and a Prometheus."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from modelrelease_operator.api import names
from modelrelease_operator.cli import main
from modelrelease_operator.runtime.checkup import cluster
from testbed.operating import Operating, operating
from testbed.servers import Handler, serving

ROOT = Path(__file__).parents[3]
CRD = yaml.safe_load((ROOT / "crds/modelreleases.yaml").read_text())
LONG = {"steps": [{"weight": 50, "bake": "30d"}]}
Findings = dict[str, list[dict[str, Any]]]


def openapi() -> dict[str, Any]:
    (version,) = CRD["spec"]["versions"]
    schema = json.loads(json.dumps(version["schema"]["openAPIV3Schema"]))
    schema["x-kubernetes-group-version-kind"] = [{"kind": "ModelRelease"}]
    return {"components": {"schemas": {"dev.modelrelease.v1alpha1.ModelRelease": schema}}}


def installed(world: Operating) -> None:
    """Put there what the chart does, and an operator that acts."""
    server = world.server
    server.openapi = openapi()
    labels = {"labels": {"app.kubernetes.io/name": names.FIELD_MANAGER}}
    lease = {
        "holderIdentity": "operator-1",
        "renewTime": datetime.now(UTC).isoformat(),
        "leaseDurationSeconds": 10,
    }
    server.put("Lease", names.FIELD_MANAGER, "kube-system", spec=lease)
    server.put("ValidatingAdmissionPolicy", "pods", "", metadata=labels, spec={})
    spec = {"policyName": "pods", "validationActions": ["Deny"]}
    server.put("ValidatingAdmissionPolicyBinding", "pods", "", metadata=labels, spec=spec)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operating]:
    async with operating() as running:
        path = running.server.kubeconfig(tmp_path)
        monkeypatch.setattr(
            "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path)
        )
        monkeypatch.setattr(cluster, "AGAIN_SECONDS", 0.01)
        installed(running)
        yield running


async def doctor(
    capsys: pytest.CaptureFixture[str], *arguments: str, namespace: str = "ml"
) -> tuple[int, Findings]:
    """Run it; return the exit code and the findings by check."""
    capsys.readouterr()
    options = ["doctor", "-n", namespace, "-o", "json", *arguments]
    code = await asyncio.to_thread(main, options)
    by_check: Findings = {}
    for finding in json.loads(capsys.readouterr().out):
        by_check.setdefault(finding["check"], []).append(finding)
    return code, by_check


def results(findings: Findings, check: str) -> list[str]:
    return [finding["result"] for finding in findings[check]]


async def test_a_cluster_that_is_as_it_should_be_has_nothing_wrong(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.serves("1")
    code, found = await doctor(capsys)
    assert code == 0
    for check in ("API server", "ModelRelease kind", "schema", "operator", "admission policy"):
        assert results(found, check) == ["ok"], found[check]
    assert results(found, "your rights") == ["ok"]
    assert results(found, "operator's word") == ["ok"]
    assert results(found, "autoscaling") == ["ok"]
    assert {finding["about"] for finding in found["spec"]} == {"ml/qna"}


async def test_an_api_server_that_is_away_is_the_one_finding(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.server.stop()
    code, found = await doctor(capsys)
    assert code == 1
    assert list(found) == ["API server"]
    assert "does not answer" in found["API server"][0]["says"]


async def test_a_cluster_without_the_chart_is_told_to_install_it(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    world.server.absent.add("modelreleases")
    world.server.objects.clear()
    code, found = await doctor(capsys)
    assert code == 1
    assert results(found, "ModelRelease kind") == ["wrong"]
    assert "helm install" in found["ModelRelease kind"][0]["remedy"]
    assert results(found, "operator") == ["wrong"]
    assert results(found, "admission policy") == ["warning"]
    assert results(found, "releases") == ["could not look"]
    assert "schema" not in found


async def test_what_a_person_may_not_see_is_never_ok(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.serves("1")
    seen = ("modelreleases",)
    world.server.refuse = lambda _, plural, __: (
        None if plural in seen else (403, f"{plural} is forbidden")
    )
    code, found = await doctor(capsys)
    assert code == 0
    for check in ("operator", "operator's pods", "admission policy", "autoscaling"):
        assert results(found, check) == ["could not look"], found[check]
    assert "leases is forbidden" in found["operator"][0]["says"]


async def test_what_the_operator_may_not_do_is_warned_of_and_nothing_is_wrong(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    lease = world.server.get("Lease", names.FIELD_MANAGER, "kube-system")
    told = {names.ANNOTATION_WITHOUT: "it may not read this\nit may not read that"}
    metadata = {"annotations": told}
    world.server.put(
        "Lease", names.FIELD_MANAGER, "kube-system", spec=lease["spec"], metadata=metadata
    )
    code, found = await doctor(capsys)
    assert code == 0
    assert [finding["says"] for finding in found["operator's rights"]] == [
        "it may not read this",
        "it may not read that",
    ]
    assert set(results(found, "operator's rights")) == {"warning"}


async def test_an_operator_that_stopped_is_found_by_its_lease(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    lease = world.server.get("Lease", names.FIELD_MANAGER, "kube-system")
    spec = {**lease["spec"], "renewTime": "2026-01-01T00:00:00Z"}
    world.server.put("Lease", names.FIELD_MANAGER, "kube-system", spec=spec)
    code, found = await doctor(capsys)
    assert code == 1
    assert "operator-1 does not renew" in found["operator"][0]["says"]


async def test_an_older_schema_is_named_by_the_field_that_it_lacks(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    (schema,) = world.server.openapi["components"]["schemas"].values()
    fields = schema["properties"]["spec"]["properties"]
    del fields["analysis"]["properties"]["gates"]["items"]["properties"]["loss"]
    fields["cost"] = {"type": "object"}
    _, found = await doctor(capsys)
    older, newer = found["schema"]
    assert older["result"] == newer["result"] == "warning"
    assert "it lacks spec.analysis.gates[].loss, which" in older["says"]
    assert "it has spec.cost, which" in newer["says"]


@pytest.mark.parametrize(("may_not", "result"), [("list", "wrong"), ("patch", "warning")])
async def test_rights_that_a_person_lacks_are_named(
    world: Operating, capsys: pytest.CaptureFixture[str], may_not: str, result: str
):
    world.server.may_not = {may_not}
    _, found = await doctor(capsys)
    assert results(found, "your rights") == [result]


async def test_a_spec_that_is_wrong_says_where(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    world.release("1", serving={"replicas": 0})
    code, found = await doctor(capsys)
    assert code == 1
    assert found["spec"][0]["says"].startswith("spec.serving.replicas: ")


async def test_an_operators_pod_that_is_not_ready_is_wrong(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    labels = {"labels": {"app.kubernetes.io/name": names.FIELD_MANAGER}}
    world.server.objects["deployments", "ops", "op"] = {
        "metadata": {"name": "op", "namespace": "ops", **labels},
        "spec": {"replicas": 1},
        "status": {},
    }
    code, found = await doctor(capsys)
    assert code == 1
    assert found["operator's pods"][0]["says"] == "Deployment ops/op: 0 of 1 pods are ready"


async def test_an_autoscaler_without_a_metrics_api_is_wrong_until_there_is_one(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    scaled = {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}, "replicas": 2}
    await world.serves("1", serving=scaled)
    code, found = await doctor(capsys)
    assert code == 1
    assert "v1beta1.metrics.k8s.io" in found["autoscaling"][0]["says"]
    world.server.documents["/apis/metrics.k8s.io/v1beta1"] = {"resources": []}
    code, found = await doctor(capsys)
    assert (code, results(found, "autoscaling")) == (0, ["ok"])


async def test_an_autoscaler_of_others_at_a_revisions_deployment_is_wrong(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.serves("1")
    deployment = f"qna-{world.status()['stable']['revision']}"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment}
    world.server.put("HorizontalPodAutoscaler", "theirs", spec={"scaleTargetRef": target})
    code, found = await doctor(capsys)
    assert code == 1
    assert f"theirs aims at Deployment {deployment}" in found["autoscaling"][0]["says"]


GATEWAY = {"gatewayAPI": {"parentRefs": [{"name": "public"}]}}


async def test_a_route_without_the_gateway_api_is_wrong_and_then_the_gateway_is_missing(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    world.release("1", canary={"routing": GATEWAY})
    code, found = await doctor(capsys)
    assert code == 1
    assert "httproutes, which the cluster does not serve" in found["gateway"][0]["says"]
    world.server.absent.clear()
    _, found = await doctor(capsys)
    assert results(found, "gateway") == ["ok", "wrong"]
    assert found["gateway"][1]["says"] == "Gateway ml/public does not exist"
    refused = {"type": "Programmed", "status": "False", "message": "no address"}
    world.server.put("Gateway", "public", status={"conditions": [refused]})
    _, found = await doctor(capsys)
    assert "Programmed is False (no address)" in found["gateway"][1]["says"]


def prometheus(pods: list[str], *, revision: str, every: float, offsets: list[float]) -> Handler:
    """Answer as Prometheus does that has scraped these pods; each question meets the next of the
    servers, which scrape at moments of their own.
    """
    asked = 0
    begin = time.time() // 600 * 600

    async def handler(request: web.Request) -> web.Response:
        nonlocal asked
        query = (await request.post())["query"]
        rows: list[dict[str, Any]] = []
        if str(query).endswith("[10m]"):
            asked += 1
            offset = offsets[asked % len(offsets)]
            values = [[begin + offset + n * every, "1"] for n in range(5)]
            rows = [{"metric": {"pod": pod}, "values": values} for pod in pods]
        elif "predictions_total" in str(query) and "process_start" in str(query):
            labels = {"__name__": "predictions_total", "code": "200", "revision": revision}
            rows = [
                {"metric": {**labels, "namespace": "ml", "pod": pod}, "value": [begin, "7"]}
                for pod in pods
            ]
        return web.json_response({"status": "success", "data": {"result": rows}})

    return handler


async def serving_release(world: Operating) -> tuple[list[str], str]:
    await world.serves("1")
    await world.caught_up()
    pods = [pod["metadata"]["name"] for pod in world.server.of("Pod")]
    return pods, world.status()["stable"]["revision"]


@pytest.mark.parametrize(
    ("every", "result"), [(15, "ok"), (30, "ok"), (60, "ok"), (90, "warning"), (200, "wrong")]
)
async def test_the_time_between_scrapes_is_held_against_what_the_release_bears(
    world: Operating, capsys: pytest.CaptureFixture[str], every: float, result: str
):
    pods, revision = await serving_release(world)
    handler = prometheus(pods, revision=revision, every=every, offsets=[0])
    async with serving(handler) as url:
        code, found = await doctor(capsys, "--prometheus", url)
    shown, interval = found["metrics"]
    assert shown["says"] == f"Prometheus at {url} shows all {len(pods)} ready pods"
    assert interval["result"] == result
    assert interval["says"].startswith(f"pods are scraped every {every} s")
    assert code == (1 if result == "wrong" else 0)


async def test_two_servers_behind_one_address_are_noticed(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    pods, revision = await serving_release(world)
    handler = prometheus(pods, revision=revision, every=15, offsets=[0, 7])
    async with serving(handler) as url:
        _, found = await doctor(capsys, "--prometheus", url)
    assert "two servers or more answer" in found["metrics"][-1]["says"]


async def test_pods_that_prometheus_has_no_target_for_are_wrong_and_say_why(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    pods, revision = await serving_release(world)
    async with serving(prometheus([], revision=revision, every=15, offsets=[0])) as url:
        code, found = await doctor(capsys, "--prometheus", url)
    assert code == 1
    (finding,) = found["metrics"]
    assert f"{len(pods)} of {len(pods)} ready pods are not shown" in finding["says"]
    assert "Prometheus has no target for pod" in finding["says"]


async def test_a_server_that_cannot_be_reached_from_here_is_not_called_wrong(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    named = {"prometheus": {"url": "http://prometheus.monitoring.invalid:9090"}}
    await world.serves("1", analysis=named)
    code, found = await doctor(capsys)
    assert code == 0
    assert results(found, "metrics") == ["could not look", "could not look"]
    assert "kubectl port-forward" in found["metrics"][0]["remedy"]


async def test_a_server_that_only_a_release_names_is_asked_at_no_address_of_this_machine(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({})

    async with serving(handler) as url:
        await world.serves("1", analysis={"prometheus": {"url": url}})
        _, found = await doctor(capsys)
    assert asked == []
    assert found["metrics"][0]["result"] == "could not look"


async def test_a_login_is_shown_to_no_server_that_a_release_names(
    world: Operating, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    token = tmp_path / "token"
    token.write_text("secret")
    arguments = ["doctor", "-n", "ml", "--token-file", str(token)]
    assert await asyncio.to_thread(main, arguments) == 1
    assert "only to the server that --prometheus names" in capsys.readouterr().err


async def test_a_release_that_reads_its_pods_is_told_by_its_status(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.serves("1", analysis={"source": "Pods"})
    _, found = await doctor(capsys)
    assert results(found, "metrics") == ["could not look"]
    assert "the operator reads the pods' own pages" in found["metrics"][0]["says"]


async def test_the_text_has_a_line_for_each_check_and_remedies_below(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    world.release("1", serving={"replicas": 0})
    assert await asyncio.to_thread(main, ["doctor", "-n", "ml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cluster"
    assert "ml/qna" in lines
    (wrong,) = [index for index, line in enumerate(lines) if line.startswith("  wrong ")]
    assert lines[wrong + 1] == "      → mend it: nothing moves until then"
    assert lines[-1].startswith("1 wrong, ")


async def test_of_all_namespaces_each_release_is_named_with_its_own(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    for space in ("a", "b"):
        world.server.put("ModelRelease", "qna", space, spec={"model": {"uri": "https://s/q/1"}})
    _, found = await doctor(capsys, "-A")
    assert {finding["about"] for finding in found["spec"]} == {"a/qna", "b/qna"}
    assert "all namespaces" in found["your rights"][0]["says"]
