"""A release of tiny language models on llama.cpp's own server, and a judge beside it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from examples import fixtures
from modelrelease_training.export import Label
from modelrelease_training.pack import pack
from testbed.releases import Object, Release
from tests.support import judging_model
from tests.support.tiny_llama import Llama

NAME = "chat"
FILE = "model.gguf"
VERSIONS = {
    "1": Llama(seed=1),
    "2": Llama(seed=2),
    "3": Llama(seed=3, fills_in=False),
    "4": Llama(seed=4, speaks=False),
}
"""Two good ones, one whose gaps cannot be filled in any more, and one that says control codes."""
SERVING: dict[str, Any] = {
    "image": "llama-cpp:dev",
    "replicas": 2,
    "runtime": {
        "profile": "llama-cpp",
        "args": [f"$(MODEL_PATH)/{FILE}"],
        "drain": {"graceSeconds": 20, "preStopSeconds": 5},
    },
}
EXAMPLE = Path(__file__).parents[2] / "examples" / "judge"
PROMPTS = "\n".join(f"what is {number} and why" for number in range(1000))
JUDGING = "judging-model"


def served_from(release: Release, folder: Path) -> Release:
    """Return a release of the models, which a store in its namespace has."""
    chat = replace(release, name=NAME, store=release.space, spec={"serving": SERVING})
    kept = [folder / NAME / version for version in VERSIONS]
    for path in kept:
        path.mkdir(parents=True)
        (path / FILE).write_bytes(VERSIONS[path.name].gguf())
        pack(path, Label(name=NAME, version=path.name))
    configs = [fixtures.artifact_configmap(chat.space, path) for path in kept]
    fixtures.apply(chat.cluster, *configs, *fixtures.model_store(chat.space, kept))
    stands(chat, fixtures.STORE)
    return chat


def model(release: Release, version: str) -> Object:
    """Return `spec.model` of a version."""
    return {"uri": fixtures.store_uri(release.store, NAME, version)}


def judge(release: Release) -> None:
    """Run the judge of the examples, which asks a stand-in for a third model."""
    files = {
        "judge": {"judge.py": (EXAMPLE / "judge.py").read_text(), "prompts.txt": PROMPTS},
        JUDGING: {"judging_model.py": Path(judging_model.__file__).read_text()},
    }
    configs = [
        {
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": release.space}, "data": data,
        }
        for name, data in files.items()
    ]  # fmt: skip
    fixtures.apply(release.cluster, *configs, *_judging_model(release.space))
    stands(release, JUDGING)
    fixtures.apply(release.cluster, *_job(release.space))


def gate() -> Object:
    """Return the gate `judge` as the example's release has it."""
    text = (EXAMPLE / "release.yaml").read_text()
    gates: list[Object] = yaml.safe_load(text)["spec"]["analysis"]["gates"]
    return next(each for each in gates if each["name"] == "judge")


def stands(release: Release, deployment: str) -> None:
    """Wait for a Deployment."""
    where = ("-n", release.space, f"deployment/{deployment}", "--timeout=600s")
    release.cluster.kubectl("rollout", "status", *where)


def _judging_model(space: str) -> list[Object]:
    container = {
        "name": JUDGING, "image": fixtures.OPERATOR_IMAGE,
        "command": ["python", "/judging/judging_model.py"],
        "volumeMounts": [{"name": JUDGING, "mountPath": "/judging"}],
    }  # fmt: skip
    volumes = [{"name": JUDGING, "configMap": {"name": JUDGING}}]
    pod = fixtures.pod(container, judging_model.PORT, "/", volumes)
    return [
        fixtures.deployment(JUDGING, space, pod),
        fixtures.service(JUDGING, space, judging_model.PORT),
    ]


def _job(space: str) -> list[Object]:
    """Return what the example has, with this cluster's image and judging model."""
    objects: list[Object] = list(yaml.safe_load_all((EXAMPLE / "judge.yaml").read_text()))
    for each in objects:
        each["metadata"]["namespace"] = space
    template = next(each for each in objects if each["kind"] == "Job")["spec"]["template"]
    template["metadata"]["annotations"]["prometheus.io/scrape-interval"] = "2s"
    (container,) = template["spec"]["containers"]
    container["image"] = fixtures.OPERATOR_IMAGE
    ours = {"JUDGE_URL": f"http://{JUDGING}.{space}", "PAUSE": "0.05"}
    for variable in container["env"]:
        if variable["name"] in ours:
            variable["value"] = ours[variable["name"]]
    return objects
