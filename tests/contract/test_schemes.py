"""One table says what `spec.model.uri` may be: the spec, the CRD, the operator and the fetcher
follow it.

The last tests add a scheme by one entry and one opener, as docs/how-to/add-an-artifact-scheme.md
does.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrelease_contract import schemes
from modelrelease_contract.schemes import Reader, Scheme
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.errors import Invalid
from modelrelease_operator.runtime.resolve import NeedsPod, resolve
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.fetch import fetch
from modelrelease_serving.model import Model
from modelrelease_serving.settings import Settings
from modelrelease_serving.sources import OPENERS, MissingError, Reading, Source
from modelrelease_training.export import Exported
from tests.serving.support import settings, train

ROOT = Path(__file__).parents[2]
CRD: dict[str, Any] = yaml.safe_load((ROOT / "crds/modelreleases.yaml").read_text())
OPEN_API = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
MODEL = OPEN_API["properties"]["spec"]["properties"]["model"]
(URI_RULE,) = MODEL["properties"]["uri"]["x-kubernetes-validations"]

each_scheme = pytest.mark.parametrize("scheme", schemes.SCHEMES, ids=lambda scheme: scheme.name)


def rule_of_all_uris() -> str:
    """Return the table's pattern as a rule of the CRD, where CEL wants each backslash twice."""
    escaped = schemes.uri_pattern().replace("\\", "\\\\")
    return f"self.matches('{escaped}')"


def test_the_crd_matches_the_uris_of_the_table():
    assert URI_RULE["rule"] == rule_of_all_uris()


def test_the_crd_names_the_forms_of_the_table():
    assert schemes.uri_forms() in URI_RULE["message"]


def test_the_fetcher_opens_what_the_table_says_and_nothing_else():
    assert set(OPENERS) == {scheme.fetched_by for scheme in schemes.SCHEMES if scheme.fetched_by}


@each_scheme
def test_each_scheme_is_fetched_or_looked_up_in_a_registry(scheme: Scheme):
    assert (scheme.fetched_by is None) == (scheme.read_by in (Reader.REGISTRY, Reader.HUB))


@each_scheme
def test_the_forms_of_a_scheme_match_it_and_no_other(scheme: Scheme):
    for form in scheme.forms:
        uri = form.replace("number", "7").replace(":digest", f":{'0' * 64}")
        assert schemes.scheme_of(uri) is scheme
        assert [other for other in schemes.SCHEMES if re.fullmatch(other.pattern, uri)] == [scheme]


@each_scheme
def test_the_reference_of_artifacts_names_each_scheme_that_is_fetched(scheme: Scheme):
    if scheme.fetched_by:
        assert f"`{scheme.name}://" in (ROOT / "docs/reference/artifacts.md").read_text()


SHELF = Scheme(
    name="shelf",
    pattern=r"shelf://[a-z]+(/[a-z]+)*",
    forms=("shelf://shelf/path",),
    read_by=Reader.POD,
    fetched_by="shelf",
)


@dataclass(frozen=True)
class ShelfSource:
    """Files of a dictionary: the smallest source that there can be."""

    files: dict[str, bytes]

    def read(self, path: str, offset: int = 0) -> Reading:
        if path not in self.files:
            msg = f"{path} is not on the shelf: check MODEL_URI"
            raise MissingError(msg)
        content = self.files[path][offset:]
        return Reading(offset, self._chunks(content), len(self.files[path]))

    @staticmethod
    def _chunks(content: bytes) -> Generator[bytes]:
        yield content


@pytest.fixture
def artifact(tmp_path: Path) -> Exported:
    return train(tmp_path / "exported")


@pytest.fixture
def shelf(artifact: Exported, monkeypatch: pytest.MonkeyPatch) -> Exported:
    """The artifact, on a shelf that everybody has heard of."""
    files = {file.name: file.read_bytes() for file in artifact.path.iterdir()}

    def open_shelf(uri: str, _: Settings) -> Source:
        assert uri == "shelf://top/qna"
        return ShelfSource(files)

    monkeypatch.setattr(schemes, "SCHEMES", (*schemes.SCHEMES, SHELF))
    monkeypatch.setitem(OPENERS, "shelf", open_shelf)
    return artifact


def spec(**model: str) -> ReleaseSpec:
    return ReleaseSpec.parse({"model": model})


def test_a_scheme_that_nobody_entered_is_refused_everywhere(tmp_path: Path):
    with pytest.raises(Invalid, match=r"spec\.model\.uri: must be"):
        spec(uri="shelf://top/qna", version="1", sha256="0" * 64)
    with pytest.raises(RefusedError, match="must be http://host/path"):
        fetch(settings(model_uri="shelf://top/qna", model_path=tmp_path))


def test_a_new_scheme_is_fetched(shelf: Exported, tmp_path: Path):
    copied = tmp_path / "models"
    fetch(settings(model_uri="shelf://top/qna", model_path=copied, model_sha256=shelf.digest))
    model = Model.open(copied, sha256=shelf.digest)
    model.load()
    assert model.ready


def test_a_new_scheme_is_held_to_its_digest(shelf: Exported, tmp_path: Path):
    with pytest.raises(RefusedError, match="sha256"):
        fetch(
            settings(
                model_uri="shelf://top/qna", model_path=tmp_path / "models", model_sha256="0" * 64
            )
        )


def test_a_new_scheme_is_validated(shelf: Exported):
    with pytest.raises(Invalid, match=r"spec\.model\.uri: must be .* or shelf://shelf/path"):
        spec(uri="shelf://top/UPPER", version="1", sha256=shelf.digest)


async def test_a_new_scheme_is_pinned_or_read_by_a_pod(shelf: Exported):
    with pytest.raises(NeedsPod, match="shelf://top/qna"):
        await resolve(spec(uri="shelf://top/qna").model)
    pinned = spec(uri="shelf://top/qna", version="1", sha256=shelf.digest)
    resolved = await resolve(pinned.model)
    assert (resolved.version, resolved.sha256) == ("1", shelf.digest)


def test_a_new_scheme_that_the_crd_lacks_is_noticed(shelf: Exported):
    assert URI_RULE["rule"] != rule_of_all_uris()
