"""The versions that are released: good ones, and ones that fail on a tenth of their requests."""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.cluster import STORE_SPACE, stock
from benchmarks.rollouts.objects import Artifact
from cluster import Cluster
from cluster.progress import step
from examples import fixtures
from examples.models.faulty import main as make_faulty
from modelrelease_contract import MANIFEST_NAME
from modelrelease_contract.artifact import manifest_digest
from modelrelease_training.__main__ import main as train

OLD, HEALTHY, FAILING = "1", "2", "3"
GOOD: Final = (OLD, HEALTHY, "11", "12", "13", "14")
FAULTY: Final = (FAILING, "31", "32", "33", "34")


def stocked(
    cluster: Cluster,
    folder: Path,
    others: Mapping[str, Sequence[str]] | None = None,
    *,
    good: Sequence[str] = GOOD,
    failing: Sequence[str] = FAULTY,
) -> dict[str, Artifact]:
    """Make every version, serve them inside of the cluster, and return them by name.

    `others` are further faulty versions: what `examples.models.faulty` is told, by name.
    """
    faulty = {version: ["failing"] for version in failing} | {
        version: list(words) for version, words in (others or {}).items()
    }
    with step(f"making {len(good) + len(faulty)} versions of a model"):
        _make(folder, good, faulty)
    folders = [folder / "qna" / version for version in (*good, *faulty)]
    with step("serving them in the cluster"):
        stock(cluster, folders)
    return {each.name: _artifact(each) for each in folders}


def _make(output: Path, good: Sequence[str], faulty: Mapping[str, Sequence[str]]) -> None:
    to = ("--output", str(output))
    trained = [["train", "--version", v, "--seed", str(6 + int(v)), *to] for v in good]
    made = [[*words, "--version", v, *to] for v, words in faulty.items()]
    # What they print is no answer of this command, and problems go to stderr.
    with contextlib.redirect_stdout(io.StringIO()):
        codes = [train(words) for words in trained] + [make_faulty(words) for words in made]
    if any(codes):
        msg = f"an artifact could not be made in {output}"
        raise RuntimeError(msg)


def _artifact(folder: Path) -> Artifact:
    digest = manifest_digest((folder / MANIFEST_NAME).read_bytes())
    uri = fixtures.store_uri(STORE_SPACE, folder.parent.name, folder.name)
    return Artifact(version=folder.name, uri=uri, sha256=digest)


def only(artifacts: Mapping[str, Artifact], versions: Iterable[str]) -> dict[str, Artifact]:
    """Return some of them, in the order that is asked for."""
    return {version: artifacts[version] for version in versions}
