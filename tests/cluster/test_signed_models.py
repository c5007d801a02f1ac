"""Who made a model, and what only a pod can read: pods of the release find out."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from typing_extensions import override

from cluster import Cluster
from examples import fixtures
from modelrelease_training.data import make_data
from tests.cluster.test_oci_registry import RegistryRelease, runs_registry
from tests.serving.test_mlflow import save
from tests.support.signing import SigningKey

OURS, ANOTHER = SigningKey(), SigningKey()
KEYS = "model-keys"


class SignedRelease(RegistryRelease):
    """A release that wants its models to be signed with our key."""

    @override
    def apply(self, version: str, **parts: Any) -> None:
        key = {"configMapKeyRef": {"name": KEYS, "key": "models.pub"}}
        self.spec["model"] = {"uri": self.uri(version), "signature": {"key": key}}
        super().apply(version, **parts)


def _signed(folder: Path, to: Path, key: SigningKey | None) -> Path:
    copy = to / folder.parent.name / folder.name
    shutil.copytree(folder, copy)
    if key:
        key.sign(copy)
    return copy


def _keys(space: str) -> dict[str, Any]:
    meta = {"name": KEYS, "namespace": space}
    data = {"models.pub": OURS.public}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


@pytest.mark.parametrize(
    ("key", "why"),
    [(None, "is not signed: it has no model.sig"), (ANOTHER, "was not made with the key of spec")],
    ids=["unsigned", "signed with another key"],
)
def test_a_version_that_is_not_signed_as_wanted_never_serves(
    key: SigningKey | None,
    why: str,
    cluster: Cluster,
    store: str,
    space: str,
    artifacts: dict[str, Path],
    tmp_path: Path,
) -> None:
    good = _signed(artifacts["1"], tmp_path, OURS)
    bad = _signed(artifacts["2"], tmp_path, key)
    runs_registry(cluster, space, [good, bad])
    fixtures.apply(cluster, _keys(space))
    release = SignedRelease(cluster=cluster, space=space, store=store)
    release.begins("1")
    release.apply("2")
    status = release.wait(
        "version 2 to be rejected",
        lambda status: (status.get("rejected") or {}).get("version") == "2",
    )
    assert why in status["rejected"]["message"]
    assert (
        f"{RegistryRelease.uri(release, '2').rpartition(':')[0]}@sha256:"
        in (status["rejected"]["message"])
    )
    assert status["stable"]["version"] == "1"


def test_a_folder_that_mlflow_wrote_is_read_by_a_job_and_serves(
    cluster: Cluster, store: str, space: str, tmp_path: Path
) -> None:
    data = make_data(seed=7, rows=200)
    model = LogisticRegression(max_iter=1000).fit(data.rows, data.labels)
    folder = tmp_path / "qna" / "1"
    save(folder, model, serialization_format="skops", input_example=data.rows[:4])
    runs_registry(cluster, space, [folder])
    release = RegistryRelease(cluster=cluster, space=space, store=store)
    release.apply("1")
    status = release.wait("it to serve", lambda status: status.get("phase") == "Stable")
    written = yaml.safe_load((folder / "MLmodel").read_text())
    assert status["stable"]["version"] == written["model_uuid"], "MLflow's own name of it"
    assert not release.items("jobs"), "it has answered"
