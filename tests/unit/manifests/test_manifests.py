"""The objects that a world is made of: fresh, whole, locked down, and the same for every course."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from modelrelease_contract import runtime
from modelrelease_operator.api import names
from modelrelease_operator.api.probe import Probe
from modelrelease_operator.api.status import Phase, Recipe, StableStatus, Status, Verifier
from modelrelease_operator.core.desired import (
    Desired,
    DesiredBudgets,
    DesiredProber,
    DesiredWorkload,
)
from modelrelease_operator.core.memo import Memo
from modelrelease_operator.manifests import Owner, read_back, reader_job, render, settled
from modelrelease_operator.manifests.overlay import merged
from testbed.builders import START, a_target
from testbed.world import a_world_in

OWNER = Owner(namespace="ml", name="qna", uid="uid-1")
EVERYTHING = Recipe(
    image="serving:test",
    resources={"requests": {"cpu": "2"}, "limits": {"memory": "4Gi"}},
    env=({"name": "THREADS", "value": "4"}, {"name": "MODEL_SHA256", "value": "mine"}),
    pod_template={
        "metadata": {
            "labels": {"team": "nlp", names.LABEL_RELEASE: "other", names.LABEL_REVISION: "other"},
            "annotations": {"prometheus.io/scrape": None, "sidecar": "no"},
        },
        "spec": {
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "securityContext": {"runAsUser": 1000},
            "containers": [
                {"name": "predictor", "env": [{"name": "THREADS", "value": "8"}]},
                {"name": "proxy", "image": "proxy:1", "env": None},
            ],
        },
    },
)


def running(track: str = "stable", **changes: Any) -> DesiredWorkload:
    target = a_target("1", **changes.pop("target", {}))
    return DesiredWorkload(**{"target": target, "replicas": 3, "track": track, **changes})


def rendered(run: DesiredWorkload) -> dict[str, Any]:
    desired = Desired(
        running=(run,), routed=frozenset({run.target.revision}), stable=run.target.revision
    )
    return render(OWNER, desired)[0]


def pod_of(run: DesiredWorkload) -> dict[str, Any]:
    pod: dict[str, Any] = rendered(run)["spec"]["template"]
    return pod


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    every = (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
    return next(item for item in every if item["name"] == name)


def env_of(it: dict[str, Any]) -> dict[str, Any]:
    assert len({item["name"] for item in it["env"]}) == len(it["env"]), "each name once"
    return {item["name"]: item.get("value") for item in it["env"]}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value


RECIPES = [
    pytest.param(Recipe(image="serving:test"), id="smallest"),
    pytest.param(EVERYTHING, id="fullest"),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_rendering_twice_gives_equal_and_separate_objects(recipe: Recipe):
    run = running(target={"recipe": recipe})
    first = rendered(run)
    untouched = deepcopy(first)
    for item in (*first["spec"]["template"]["spec"]["containers"], first["spec"]["template"]):
        item.clear()
    assert rendered(run) == untouched


@pytest.mark.parametrize("recipe", RECIPES)
def test_rendering_changes_nothing_of_what_it_was_given(recipe: Recipe):
    before = recipe.model_dump_json()
    obj = rendered(running(target={"recipe": recipe}))
    obj["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = "none"
    obj["spec"]["template"]["metadata"]["labels"]["x"] = "y"
    assert recipe.model_dump_json() == before


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("uri", ["http://store/qna/1", "pvc://claim/qna/1", "file:///models/qna"])
def test_every_object_can_be_applied_by_the_server(recipe: Recipe, uri: str):
    run = running(target={"recipe": recipe, "uri": uri})
    desired = Desired(
        running=(run,), routed=frozenset({"rev1", "rev2"}), stable="rev1", canary="rev2"
    )
    for obj in render(OWNER, desired):
        assert [path for path, value in leaves(obj) if value is None] == []
        assert json.loads(json.dumps(obj)) == obj, "lists and mappings only, as the API has them"
        assert {"apiVersion", "kind", "metadata", "spec"} == set(obj)
        assert not {"resourceVersion", "managedFields", "status"} & set(obj["metadata"])


def test_the_pod_template_knows_nothing_of_the_releases_course():
    """Or else promotion would restart the pods."""
    course = [
        running(track, replicas=count)
        for track, count in (("canary", 1), ("stable", 3), ("previous", 9))
    ]
    assert pod_of(course[0]) == pod_of(course[1]) == pod_of(course[2])
    words = {str(value) for _, value in leaves(pod_of(course[0]))}
    assert not words & {"canary", "stable", "previous"}
    assert rendered(course[0])["metadata"]["labels"][names.LABEL_TRACK] == "canary"
    assert names.LABEL_TRACK not in pod_of(course[0])["metadata"]["labels"]


def test_the_pod_template_of_a_revision_is_the_same_in_every_phase():
    templates: dict[str, list[Any]] = {}
    for phase in Phase:
        for run in a_world_in(phase).decide().desired.running:
            templates.setdefault(run.target.revision, []).append(pod_of(run))
    assert set(templates) == {"rev1", "rev2"}
    for each in templates.values():
        assert all(template == each[0] for template in each)


def test_a_deployment_selects_exactly_its_own_pods():
    obj = rendered(running())
    selector = obj["spec"]["selector"]["matchLabels"]
    assert selector == {names.LABEL_RELEASE: "qna", names.LABEL_REVISION: "rev1"}
    assert selector.items() <= obj["spec"]["template"]["metadata"]["labels"].items()
    assert obj["metadata"]["name"] == "qna-rev1"


def test_labels_of_a_user_are_kept_but_cannot_move_a_pod_to_another_release():
    labels = pod_of(running(target={"recipe": EVERYTHING}))["metadata"]["labels"]
    assert labels["team"] == "nlp"
    assert (labels[names.LABEL_RELEASE], labels[names.LABEL_REVISION]) == ("qna", "rev1")


@pytest.mark.parametrize(
    "metadata", [None, {"labels": None}, {}], ids=["null", "null labels", "empty"]
)
def test_metadata_that_a_user_takes_away_does_not_take_the_selector_away(metadata: Any):
    recipe = Recipe(image="i", pod_template={"metadata": metadata})
    labels = pod_of(running(target={"recipe": recipe}))["metadata"]["labels"]
    assert labels[names.LABEL_REVISION] == "rev1"


def test_no_request_is_lost_by_a_pod_that_is_replaced():
    spec = rendered(running())["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    drain = float(env_of(container(spec["template"], "predictor"))[runtime.ENV_DRAIN_SECONDS])
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > drain


def test_pods_are_locked_down_without_being_asked():
    pod = pod_of(running())
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for name in ("fetch", "predictor"):
        context = container(pod, name)["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container(pod, name)["resources"]["limits"]["memory"]
    mounts = {item["mountPath"]: item for item in container(pod, "predictor")["volumeMounts"]}
    assert mounts[runtime.MODEL_DIR]["readOnly"] is True, (
        "the process that answers cannot change its model"
    )


def test_only_what_is_pinned_is_fetched_and_served():
    pod = pod_of(running())
    fetch, serve = env_of(container(pod, "fetch")), env_of(container(pod, "predictor"))
    assert fetch[runtime.ENV_MODEL_URI] == "http://store/qna/1"
    assert (
        fetch[runtime.ENV_MODEL_SHA256] == serve[runtime.ENV_MODEL_SHA256] == a_target("1").sha256
    )
    assert (serve[runtime.ENV_RELEASE], serve[runtime.ENV_REVISION]) == ("qna", "rev1")
    assert container(pod, "fetch")["args"] == ["fetch"]
    assert container(pod, "predictor")["args"] == ["serve"]


def test_a_user_adds_environment_but_cannot_unpin_the_model_by_it():
    recipe = Recipe(image="i", env=EVERYTHING.env)
    env = env_of(container(pod_of(running(target={"recipe": recipe})), "predictor"))
    assert env["THREADS"] == "4"
    assert env[runtime.ENV_MODEL_SHA256] == a_target("1").sha256


def test_the_users_resources_take_the_place_of_ours_in_both_containers():
    pod = pod_of(running(target={"recipe": EVERYTHING}))
    assert container(pod, "fetch")["resources"] == container(pod, "predictor")["resources"]
    assert container(pod, "fetch")["resources"] == EVERYTHING.resources


def test_a_claim_is_mounted_read_only_where_the_fetch_container_looks_for_it():
    pod = pod_of(running(target={"uri": "pvc://models/qna/1"}))
    mount = next(it for it in container(pod, "fetch")["volumeMounts"] if it["name"] == "source")
    assert mount == {"name": "source", "mountPath": f"{runtime.PVC_DIR}/models", "readOnly": True}
    volume = next(it for it in pod["spec"]["volumes"] if it["name"] == "source")
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert "source" not in {it["name"] for it in container(pod, "predictor")["volumeMounts"]}


def test_without_a_claim_nothing_is_mounted_for_one():
    pod = pod_of(running())
    assert {it["name"] for it in pod["spec"]["volumes"]} == {"model", "tmp"}
    assert {it["name"] for it in container(pod, "fetch")["volumeMounts"]} == {"model", "tmp"}


def test_every_volume_that_is_mounted_exists():
    pod = pod_of(running(target={"recipe": EVERYTHING, "uri": "pvc://models/x"}))
    volumes = {it["name"] for it in pod["spec"]["volumes"]}
    for each in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        assert {it["name"] for it in each.get("volumeMounts", ())} <= volumes


def test_everything_belongs_to_the_release_and_goes_with_it():
    desired = Desired(running=(running(),), routed=frozenset({"rev1"}), stable="rev1")
    for obj in render(OWNER, desired):
        (owner,) = obj["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("ModelRelease", "qna", "uid-1")
        assert owner["controller"] is True
        assert obj["metadata"]["namespace"] == "ml"
        assert obj["metadata"]["labels"][names.LABEL_RELEASE] == "qna", (
            "or nobody would find it to prune"
        )


def test_the_pods_come_before_the_services_that_send_clients_to_them():
    desired = Desired(running=(running(),), routed=frozenset({"rev1"}), stable="rev1")
    assert [obj["kind"] for obj in render(OWNER, desired)] == ["Deployment"] + ["Service"] * 3


def services(desired: Desired) -> dict[str, dict[str, str]]:
    found = [obj for obj in render(OWNER, desired) if obj["kind"] == "Service"]
    return {obj["metadata"]["name"]: obj["spec"]["selector"] for obj in found}


def test_each_arm_has_a_service_and_the_main_one_follows_the_route():
    base = {names.LABEL_RELEASE: "qna"}
    desired = Desired(routed=frozenset({"rev1"}), stable="rev1", canary="rev2")
    dark = services(desired)
    assert dark["qna"] == dark["qna-stable"] == {**base, names.LABEL_REVISION: "rev1"}
    assert dark["qna-canary"] == {**base, names.LABEL_REVISION: "rev2"}
    opened = services(replace(desired, routed=frozenset({"rev1", "rev2"})))
    assert opened["qna"] == base


def test_without_a_canary_its_service_selects_nothing():
    selector = services(Desired(routed=frozenset({"rev1"}), stable="rev1"))["qna-canary"]
    assert selector[names.LABEL_REVISION] == names.NO_REVISION


def test_before_there_is_a_revision_there_are_no_services():
    assert render(OWNER, Desired()) == []


def test_names_fit_into_what_kubernetes_allows():
    longest = Owner(namespace="ml", name="a" * 50, uid="u")
    run = running(target={"revision": "f" * 10})
    desired = Desired(running=(run,), routed=frozenset({"x"}), stable="x")
    assert all(len(obj["metadata"]["name"]) <= 63 for obj in render(longest, desired))


MERGES = [
    pytest.param({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}, id="a scalar is replaced"),
    pytest.param({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}},
    id="mappings are merged"),
    pytest.param({"a": 1, "b": 2}, {"b": None}, {"a": 1}, id="null takes a key away"),
    pytest.param({"a": 1}, {"b": None}, {"a": 1}, id="null for a key that is not there"),
    pytest.param({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}},
    id="null inside of something new"),
    pytest.param({}, {"a": [{"b": None}]}, {"a": [{}]}, id="null inside of a new list"),
    pytest.param({"a": ["x"]}, {"a": ["y"]}, {"a": ["y"]}, id="plain lists are replaced"),
    pytest.param({"a": ["x"]}, {"a": []}, {"a": []}, id="a plain list is emptied"),
    pytest.param({"a": {"b": 1}}, {"a": "x"}, {"a": "x"}, id="another kind replaces"),
    pytest.param({"a": "x"}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="a mapping replaces a scalar"),
    pytest.param(
        [{"name": "a", "v": 1}, {"name": "b", "v": 2}], [{"name": "b", "v": 3}, {"name": "c"}],
        [{"name": "a", "v": 1}, {"name": "b", "v": 3}, {"name": "c"}],
        id="items are merged by name"),
    pytest.param(
        [{"name": "model", "mountPath": "/models"}, {"name": "tmp", "mountPath": "/t"}],
        [{"name": "tmp", "mountPath": "/var/cache"}, {"name": "tmp", "mountPath": "/home"}],
        [{"name": "model", "mountPath": "/models"}, {"name": "tmp", "mountPath": "/t"},
         {"name": "tmp", "mountPath": "/var/cache"}, {"name": "tmp", "mountPath": "/home"}],
        id="one volume may be mounted at several paths"),
    pytest.param(
        [{"name": "http", "containerPort": 8000}], [{"containerPort": 9000}],
        [{"name": "http", "containerPort": 8000}, {"containerPort": 9000}],
        id="ports without a name"),
    pytest.param([{"key": "a"}], [{"key": "b"}], [{"key": "b"}], id="items without a known key"),
    pytest.param([{"name": {}}], [{"name": []}], [{"name": []}], id="names that are no names"),
]  # fmt: skip


@pytest.mark.parametrize(("base", "overlay", "result"), MERGES)
def test_the_rules_of_laying_one_template_over_another(base: Any, overlay: Any, result: Any):
    before = deepcopy((base, overlay))
    assert merged(base, overlay) == result
    assert (base, overlay) == before


def test_an_overlay_reaches_every_part_of_a_pod():
    pod = pod_of(running(target={"recipe": EVERYTHING}))
    assert env_of(container(pod, "predictor"))["THREADS"] == "8"
    assert container(pod, "predictor")["image"] == "serving:test", "the rest of the container stays"
    assert container(pod, "proxy") == {"name": "proxy", "image": "proxy:1"}
    assert pod["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["metadata"]["annotations"]["sidecar"] == "no"
    assert "prometheus.io/scrape" not in pod["metadata"]["annotations"]


# -- what is taken away stays away -----------------------------------------------------------

TAKES_AWAY = Recipe(
    image="serving:test",
    resources={"limits": {"memory": "1Gi", "cpu": None}, "requests": None},
    env=({"name": "A", "value": None}, {"name": "B", "value": "1"}),
    pod_template={
        "metadata": {"annotations": {"prometheus.io/scrape": None}},
        "spec": {
            "securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
            "containers": [{"name": "predictor", "livenessProbe": None}],
        },
    },
)


def through_the_api_server(recipe: Recipe) -> Recipe:
    """Return a recipe as a later pass reads it:
    the API server's nulls mean nothing, so ours are lost.
    """

    def lose(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: lose(item) for key, item in value.items() if item is not None}
        return [lose(item) for item in value] if isinstance(value, list) else value

    status = Status(stable=StableStatus(**a_target("1", recipe=recipe).parts(), since=START))
    found = Status.parse(lose(json.loads(json.dumps(status.to_dict())))).stable
    assert found is not None
    return found.recipe


def test_what_a_null_takes_away_is_away_at_every_later_pass():
    first = pod_of(running(target={"recipe": TAKES_AWAY}))
    later = pod_of(running(target={"recipe": through_the_api_server(TAKES_AWAY)}))
    assert later == first
    assert "prometheus.io/scrape" not in later["metadata"]["annotations"]
    assert set(later["spec"]["securityContext"]) == {"runAsNonRoot", "seccompProfile"}
    assert "livenessProbe" not in container(later, "predictor")
    assert container(later, "predictor")["resources"] == {"limits": {"memory": "1Gi"}}
    assert [path for path, value in leaves(later) if value is None] == []


def test_what_a_null_takes_away_is_written_alike_by_every_pass():
    recipe = TAKES_AWAY.but()
    written = [recipe.model_dump(mode="json", by_alias=True) for _ in range(2)]
    assert written[0] == written[1]
    assert "exact" in written[0]
    plain = recipe.but(resources={}, env=(), pod_template={})
    assert "exact" not in plain.model_dump(mode="json", by_alias=True)


def test_a_world_is_rendered_once_until_it_is_another():
    kept: Memo[Any] = Memo(8)
    world = Desired(
        running=(running(),), routed=frozenset({"rev1"}), stable="rev1",
        budgets=DesiredBudgets(max_unavailable=1, revisions=frozenset({"rev1"})),
    )  # fmt: skip
    first = render(OWNER, world, kept=kept)
    assert render(OWNER, world.but(), kept=kept) is first
    assert first == render(OWNER, world)
    other = world.but(running=(running(replicas=5),))
    assert render(OWNER, other, kept=kept) == render(OWNER, other)
    live = {"rev1": first[0]}
    assert render(OWNER, world, live, kept=kept) == render(OWNER, world, live)


def test_a_status_of_an_operator_that_kept_no_nulls_is_read_as_it_stands():
    old = {
        "image": "i",
        "env": [{"name": "A"}],
        "podTemplate": {"spec": {"hostname": "x"}},
        "resources": {},
    }
    recipe = Recipe.model_validate(old)
    assert recipe == Recipe(
        image="i", env=({"name": "A"},), pod_template={"spec": {"hostname": "x"}}
    )
    assert recipe.model_dump(mode="json", by_alias=True) == old, (
        "and written as that operator reads it"
    )


def test_an_older_operator_reads_all_of_a_status_but_the_nulls():
    written = TAKES_AWAY.model_dump(mode="json", by_alias=True)
    assert {key: written[key] for key in ("image", "resources", "env", "podTemplate")} == {
        "image": TAKES_AWAY.image,
        "resources": TAKES_AWAY.resources,
        "env": list(TAKES_AWAY.env),
        "podTemplate": TAKES_AWAY.pod_template,
    }


# -- what fetch is told ----------------------------------------------------------------------


def test_whatever_a_release_sets_reaches_the_container_that_fetches_too():
    env = (
        {"name": "ARTIFACT_MAX_BYTES", "value": "9000000000"},
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "HTTP_TOKEN", "valueFrom": {"secretKeyRef": {"name": "store", "key": "token"}}},
        {"name": runtime.ENV_MODEL_URI, "value": "http://mine"},
    )
    fetch = container(pod_of(running(target={"recipe": Recipe(image="i", env=env)})), "fetch")
    found = {item["name"]: item for item in fetch["env"]}
    assert [found[item["name"]] for item in env[:3]] == list(env[:3])
    assert found[runtime.ENV_MODEL_URI]["value"] == "http://store/qna/1", (
        "what is pinned stays pinned"
    )
    env_of(fetch)


@pytest.mark.parametrize(
    ("asked", "size"),
    [(None, "10Gi"), ("4294967296", "10Gi"), ("42949672960", "42Gi"), ("much", "10Gi")],
)
def test_there_is_room_for_the_largest_artifact_that_may_be_fetched(asked: str | None, size: str):
    env = ({"name": "ARTIFACT_MAX_BYTES", "value": asked},) if asked else ()
    volumes = pod_of(running(target={"recipe": Recipe(image="i", env=env)}))["spec"]["volumes"]
    assert next(it for it in volumes if it["name"] == "model")["emptyDir"] == {"sizeLimit": size}


def test_an_archive_of_a_registry_has_room_beside_its_files():
    env = ({"name": "ARTIFACT_MAX_BYTES", "value": "42949672960"},)
    target = {"recipe": Recipe(image="i", env=env), "uri": f"oci://r/qna@sha256:{'a' * 64}"}
    volumes = pod_of(running(target=target))["spec"]["volumes"]
    assert next(it for it in volumes if it["name"] == "model")["emptyDir"] == {"sizeLimit": "82Gi"}


CACHED = Recipe(
    image="i",
    pod={"cache": "artifacts"},
    keeps="0" * 64,
    env=({"name": "ARTIFACT_CACHE_PATH", "value": "/etc"},),
)


def test_the_cache_is_mounted_where_the_artifact_is_fetched_and_nowhere_else():
    pod = pod_of(running(target={"recipe": CACHED}))
    mounts = {
        each["name"]: [mount["name"] for mount in each["volumeMounts"]]
        for each in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])
    }
    assert mounts == {
        "fetch": ["model", "tmp", "modelrelease-artifacts"],
        "predictor": ["model", "tmp"],
    }
    assert pod["spec"]["volumes"][-1] == {
        "name": "modelrelease-artifacts",
        "persistentVolumeClaim": {"claimName": "artifacts"},
    }


DIGEST = f"sha256:{'d' * 64}"
MOUNTED = Recipe(
    image="own:1",
    pod={
        "imageVolume": {"path": "models/qna"},
        "signature": {"configMapKeyRef": {"name": "keys", "key": "models.pub"}},
        "imagePullSecrets": [{"name": "registry"}],
    },
    verifier=Verifier(image="serving:1"),
)
OF_IMAGE = {"recipe": MOUNTED, "uri": f"oci://registry.example:5000/team/qna@{DIGEST}"}


def test_an_image_is_mounted_by_digest_and_nothing_is_copied():
    pod = pod_of(running(target=OF_IMAGE))
    reference = f"registry.example:5000/team/qna@{DIGEST}"
    assert pod["spec"]["volumes"][0] == {
        "name": "model",
        "image": {"reference": reference, "pullPolicy": "IfNotPresent"},
    }
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert container(pod, "fetch")["args"] == ["inspect"]


@pytest.mark.parametrize("name", ["fetch", "verify-signature", "predictor"])
def test_each_container_finds_the_model_in_its_folder_of_the_image_and_can_change_nothing(
    name: str,
):
    it = container(pod_of(running(target=OF_IMAGE)), name)
    assert it["volumeMounts"][0] == {"name": "model", "mountPath": "/models", "readOnly": True}
    assert env_of(it)["MODEL_PATH"] == "/models/models/qna"
    assert env_of(it)["MODEL_SHA256"] == running(target=OF_IMAGE).target.sha256


def test_a_server_of_ones_own_is_told_where_in_the_image_its_model_is():
    runtime_of_own = {"port": 80, "readinessPath": "/up", "modelDirectory": "/mnt/models"}
    recipe = Recipe(image="own:1", pod={"imageVolume": {"path": "qna"}}, runtime=runtime_of_own)
    pod = pod_of(running(target={**OF_IMAGE, "recipe": recipe}))
    assert env_of(container(pod, "predictor"))["MODEL_PATH"] == "/mnt/models/qna"
    assert container(pod, "predictor")["volumeMounts"][0]["mountPath"] == "/mnt/models"


def test_a_revision_whose_image_is_mounted_is_known_again_when_status_is_lost():
    first = rendered(running(target=OF_IMAGE))
    known = read_back(first)
    assert known is not None
    assert (known.uri, known.sha256) == (OF_IMAGE["uri"], running(target=OF_IMAGE).target.sha256)
    again = rendered(DesiredWorkload(target=known, replicas=3, track="stable"))
    assert again["spec"]["template"] == first["spec"]["template"]


def test_what_asks_example_rows_or_reads_a_manifest_fetches_it_all_the_same():
    target = a_target("1", **OF_IMAGE)
    probing = DesiredProber(stable=target, canary=a_target("2", **OF_IMAGE), settings=Probe())
    prober = render(OWNER, Desired(probing=probing))[0]["spec"]["template"]["spec"]
    reader = reader_job(OWNER, target)["spec"]["template"]["spec"]
    for pod in (prober, reader):
        assert {"image"} & {key for volume in pod["volumes"] for key in volume} == set()
    assert [it["args"] for it in prober["initContainers"]] == [["fetch"], ["fetch"]]
    assert reader["containers"][0]["args"] == ["describe"]


def test_each_release_has_a_folder_of_its_own_in_the_cache_and_keeps_what_serves():
    env = env_of(container(pod_of(running(target={"recipe": CACHED})), "fetch"))
    assert env["ARTIFACT_CACHE_PATH"] == "/artifact-cache/qna"
    assert env["ARTIFACT_CACHE_KEEP"] == "0" * 64


def test_a_signature_is_checked_after_the_fetch_by_what_no_release_can_change():
    recipe = Recipe(
        image="own:1",
        env=({"name": "PYTHONPATH", "value": "/mine"}, {"name": "MODEL_URI", "value": "mine"}),
        pod={
            "signature": {"configMapKeyRef": {"name": "keys", "key": "models.pub"}},
            "volumes": [{"name": "mine", "emptyDir": {}}],
            "volumeMounts": [{"name": "mine", "mountPath": "/opt"}],
        },
        verifier=Verifier(image="serving:1", keys="PEM"),
    )
    pod = pod_of(running(target={"recipe": recipe}))
    before = [each["name"] for each in pod["spec"]["initContainers"]]
    assert before == ["fetch", "verify-signature"]
    verifier = container(pod, "verify-signature")
    assert verifier["image"] == "serving:1"
    assert verifier["volumeMounts"] == [{"name": "model", "mountPath": "/models", "readOnly": True}]
    env = {item["name"]: item.get("value", item.get("valueFrom")) for item in verifier["env"]}
    target = running(target={"recipe": recipe}).target
    assert env == {
        "MODEL_URI": target.uri,
        "MODEL_SHA256": target.sha256,
        "MODEL_PATH": "/models",
        "SIGNING_KEY_OF_RELEASE": {"configMapKeyRef": {"name": "keys", "key": "models.pub"}},
        "SIGNING_KEYS_OF_OPERATOR": "PEM",
    }
    assert {"name": "FETCH_SIGNATURE", "value": "true"} in container(pod, "fetch")["env"]


@pytest.mark.parametrize("limit", [None, "4"])
def test_every_container_has_a_limit_of_cpu_where_the_release_sets_one(limit: str | None):
    """A ResourceQuota with limits.cpu takes no pod of which one container has none."""
    limits = {"memory": "1Gi", **({"cpu": limit} if limit else {})}
    recipe = Recipe(image="own:1", resources={"limits": limits}, verifier=Verifier(image="s:1"))
    target = a_target("1", recipe=recipe)
    probing = DesiredProber(stable=target, canary=a_target("2", recipe=recipe), settings=Probe())
    pods = [
        pod_of(running(target={"recipe": recipe})),
        render(OWNER, Desired(probing=probing))[0]["spec"]["template"],
        reader_job(OWNER, target)["spec"]["template"],
    ]
    parts = ("initContainers", "containers")
    every = [each for pod in pods for part in parts for each in pod["spec"][part]]
    assert {"fetch", "verify-signature", "predictor", "prober"} <= {each["name"] for each in every}
    assert {"cpu" in each["resources"]["limits"] for each in every} == {limit is not None}


def test_no_device_is_waited_for_to_read_an_artifact():
    gpu = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
    using = {"name": "predictor", "resources": {"claims": [{"name": "gpu"}]}}
    template = {"spec": {"resourceClaims": gpu, "containers": [using]}}
    recipe = Recipe(image="own:1", pod_template=template)
    assert pod_of(running(target={"recipe": recipe}))["spec"]["resourceClaims"] == gpu
    job = reader_job(OWNER, a_target("1", recipe=recipe))
    assert "gpu" not in json.dumps(job)


def test_credentials_for_the_store_reach_the_container_that_fetches_and_no_other():
    pod = pod_of(
        running(target={"recipe": Recipe(image="i", pod={"credentialsSecretRef": "store"})})
    )
    refs = {
        item["name"]: item["valueFrom"]["secretKeyRef"]
        for item in container(pod, "fetch")["env"]
        if "valueFrom" in item
    }
    assert refs == {
        name: {"name": "store", "key": key, "optional": True}
        for name, key in (
            ("HTTP_TOKEN", "token"),
            ("HTTP_USERNAME", "username"),
            ("HTTP_PASSWORD", "password"),
        )
    }
    assert not [item for item in container(pod, "predictor")["env"] if "valueFrom" in item]


# -- fields that need no template ------------------------------------------------------------

FIELDS: dict[str, Any] = {
    "imagePullSecrets": [{"name": "registry"}],
    "serviceAccountName": "models",
    "nodeSelector": {"pool": "gpu"},
    "affinity": {"nodeAffinity": {}},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "priorityClassName": "high",
    "runtimeClassName": "nvidia",
    "initContainers": [{"name": "credentials", "image": "c:1"}],
    "sidecars": [{"name": "tunnel", "image": "t:1", "securityContext": {"runAsUser": 7}}],
    "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
}


def test_fields_of_a_release_become_fields_of_its_pods():
    spec = pod_of(running(target={"recipe": Recipe(image="i", pod=FIELDS)}))["spec"]
    same = ("imagePullSecrets", "serviceAccountName", "nodeSelector", "tolerations",
    "priorityClassName",
            "runtimeClassName", "affinity")  # fmt: skip
    assert {name: spec[name] for name in same} == {name: FIELDS[name] for name in same}
    assert spec["automountServiceAccountToken"] is False, (
        "an account is no reason to mount its token"
    )
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"][names.LABEL_REVISION] == "rev1"
    for name in ("fetch", "predictor"):
        assert FIELDS["volumeMounts"][0] in container({"spec": spec}, name)["volumeMounts"]
    assert FIELDS["volumes"][0] in spec["volumes"]


def test_sidecars_start_first_and_own_containers_run_before_the_download():
    spec = pod_of(running(target={"recipe": Recipe(image="i", pod=FIELDS)}))["spec"]
    assert [each["name"] for each in spec["initContainers"]] == ["tunnel", "credentials", "fetch"]
    tunnel, credentials, _ = spec["initContainers"]
    assert tunnel["restartPolicy"] == "Always", "which makes it stay, and stop after the predictor"
    assert "restartPolicy" not in credentials
    assert tunnel["securityContext"]["runAsUser"] == 7
    for each in (tunnel, credentials):
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_our_volumes_keep_no_node_from_being_scaled_down():
    pod = pod_of(running())
    annotation = pod["metadata"]["annotations"][
        "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
    ]
    local = {it["name"] for it in pod["spec"]["volumes"] if "emptyDir" in it}
    assert set(annotation.split(",")) == local


# -- a running revision keeps its template ---------------------------------------------------


def on_the_cluster(obj: dict[str, Any]) -> dict[str, Any]:
    """Return a Deployment as it is read back, with what the API server fills in."""
    live = deepcopy(obj)
    live["spec"]["template"]["metadata"]["creationTimestamp"] = None
    live["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    live["spec"]["progressDeadlineSeconds"] = 600
    return live


def of_a_newer_operator(obj: dict[str, Any]) -> dict[str, Any]:
    """Return what another version of the operator renders for the same revision."""
    newer = deepcopy(obj)
    newer["metadata"].pop("annotations", None)
    newer["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 99
    newer["spec"]["replicas"] = 7
    return newer


def test_another_operator_replaces_no_pod_of_a_running_revision():
    first = rendered(running())
    later = settled(of_a_newer_operator(first), on_the_cluster(first))
    assert later["spec"]["template"] == first["spec"]["template"]
    assert later["spec"]["replicas"] == 7, "all else is as the newer one wants it"
    assert (
        settled(of_a_newer_operator(first), on_the_cluster(later))["spec"]["template"]
        == (first["spec"]["template"])
    )


def test_an_operator_that_remembered_no_template_had_its_pods_replaced_by_none():
    first = rendered(running())
    del first["metadata"]["annotations"]
    live = on_the_cluster(first)
    later = settled(of_a_newer_operator(first), live)
    assert later["spec"]["template"]["spec"] == live["spec"]["template"]["spec"]
    assert "creationTimestamp" not in later["spec"]["template"]["metadata"]
    assert (
        json.loads(later["metadata"]["annotations"][names.ANNOTATION_TEMPLATE])
        == later["spec"]["template"]
    )


def test_a_template_that_somebody_changed_is_put_right():
    first = rendered(running())
    live = on_the_cluster(first)
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "mine:1"
    assert (
        settled(of_a_newer_operator(first), live)["spec"]["template"] == first["spec"]["template"]
    )


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"metadata": 1}', '{"metadata": {"labels": null}}']
)
def test_a_memory_that_somebody_spoilt_is_no_reason_to_stop(text: str):
    first = rendered(running())
    live = on_the_cluster(first)
    live["metadata"]["annotations"][names.ANNOTATION_TEMPLATE] = text
    template = settled(first, live)["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "serving:test"
    assert template["metadata"]["labels"][names.LABEL_REVISION] == "rev1"


def test_a_version_that_was_put_right_reaches_the_pods_of_the_same_revision():
    first = rendered(running())
    mended = rendered(
        replace(running(), target=a_target("1").model_copy(update={"version": "1.1"}))
    )
    assert settled(mended, on_the_cluster(first))["spec"]["template"] == mended["spec"]["template"]


def test_a_template_too_large_to_be_remembered_is_kept_as_it_runs():
    env = tuple({"name": f"A{index}", "value": "x" * 2000} for index in range(99))
    first = rendered(running(target={"recipe": Recipe(image="i", env=env)}))
    assert names.ANNOTATION_TEMPLATE not in first["metadata"].get("annotations", {})
    later = settled(of_a_newer_operator(first), on_the_cluster(first))
    assert later["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] != 99


def test_pods_of_a_revision_are_kept_apart_where_a_release_says_nothing_about_it():
    spec = pod_of(running())["spec"]
    (constraint,) = spec["topologySpreadConstraints"]
    assert (constraint["topologyKey"], constraint["whenUnsatisfiable"]) == (
        "kubernetes.io/hostname",
        "ScheduleAnyway",
    )
    ((zones),) = spec["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert zones["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"
    ours = rendered(running())["spec"]["selector"]
    assert constraint["labelSelector"] == ours
    assert zones["podAffinityTerm"]["labelSelector"] == ours


NODES = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}


@pytest.mark.parametrize(
    ("recipe", "left"),
    [
        ({"pod": {"topologySpreadConstraints": [NODES]}}, set()),
        ({"pod": {"topologySpreadConstraints": []}}, set()),
        ({"pod_template": {"spec": {"topologySpreadConstraints": [NODES]}}}, set()),
        ({"pod_template": {"spec": {"topologySpreadConstraints": None}}}, set()),
        ({"pod": {"affinity": {"nodeAffinity": {}}}}, {"topologySpreadConstraints"}),
        ({"pod_template": {"spec": {"affinity": None}}}, {"topologySpreadConstraints"}),
    ],
    ids=["field", "none", "template", "null", "affinity", "template affinity"],
)
def test_what_a_release_says_about_its_places_stands_alone(recipe: dict[str, Any], left: set[str]):
    target = {"recipe": Recipe(image="serving:test", **recipe)}
    spec = pod_of(running(target=target))["spec"]
    ours = {
        "kubernetes.io/hostname": "topologySpreadConstraints",
        "topology.kubernetes.io/zone": "affinity",
    }
    soft = {
        name for key, name in ours.items()
        if key in json.dumps(spec.get(name)) and "DoNotSchedule" not in json.dumps(spec[name])
    }  # fmt: skip
    assert soft == left


def test_a_revision_of_before_is_not_replaced_to_keep_its_pods_apart():
    fresh = rendered(running())
    before = deepcopy(fresh)
    del before["metadata"]["annotations"]
    del before["spec"]["template"]["spec"]["topologySpreadConstraints"]
    del before["spec"]["template"]["spec"]["affinity"]
    after = settled(fresh, before)
    assert after["spec"]["template"] == before["spec"]["template"]
