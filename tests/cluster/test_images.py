"""What is in the images that a cluster runs, read from the archives that were loaded into it."""

import json
import re
import tarfile
from collections.abc import Iterator
from typing import Final

import pytest

from cluster import Cluster, engines, imageset
from cluster.imageset import Image

SERVING_BYTES_MAX: Final = 350_000_000
STACKS: Final = {
    "mlflow", "mlflow-skinny", "pandas", "pandera", "prefect", "pyarrow", "sentence-transformers",
    "torch",
    "wandb",
}  # fmt: skip
"""Distributions of the training and drift stacks."""


def files(cluster: Cluster, image: Image) -> Iterator[tarfile.TarInfo]:
    """Yield every entry of every layer."""
    archive, _ = imageset.build_once(image, engines.engine(cluster.provider.name))
    with tarfile.open(archive) as whole:
        manifest = whole.extractfile("manifest.json")
        assert manifest
        for layer in json.load(manifest)[0]["Layers"]:
            content = whole.extractfile(layer)
            assert content
            with tarfile.open(fileobj=content) as entries:
                yield from entries


def distributions(cluster: Cluster, image: Image) -> set[str]:
    found = (
        re.search(r"/([^/]+)-[^-/]+\.dist-info/METADATA$", entry.name)
        for entry in files(cluster, image)
    )
    return {match[1].lower().replace("_", "-") for match in found if match}


def test_the_predictor_is_less_than_350_mb_unpacked(cluster: Cluster) -> None:
    assert (
        sum(entry.size for entry in files(cluster, imageset.SERVING) if entry.isfile())
        < SERVING_BYTES_MAX
    )


@pytest.mark.parametrize(
    "image", [imageset.SERVING, imageset.OPERATOR], ids=lambda image: str(image.name)
)
def test_no_training_or_drift_stack_leaks_into_an_image(cluster: Cluster, image: Image) -> None:
    found = distributions(cluster, image)
    assert "modelrelease" in found, "or nothing is found at all"
    assert not found & STACKS


def test_the_predictor_brings_no_package_manager_and_no_perl(cluster: Cluster) -> None:
    programs = {
        entry.name.rpartition("/")[2]
        for entry in files(cluster, imageset.SERVING)
        if "bin/" in entry.name
    }
    assert "python3" in programs, "or nothing is found at all"
    assert not programs & {"apt", "apt-get", "dpkg", "perl", "pip", "pip3"}
