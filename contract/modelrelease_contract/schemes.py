"""The schemes that `spec.model.uri` may have: one table, which every part of the project asks.

The operator's check of a spec, the rules of the CRD, the way from a URI to a digest, and the fetch
container all follow from it. `docs/how-to/add-an-artifact-scheme.md` walks through a new entry.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final
from urllib.parse import urlsplit


class Reader(StrEnum):
    """Who finds out which version and digest a URI means."""

    OPERATOR = "operator"
    """The operator reads the manifest where the URI says."""
    REGISTRY = "registry"
    """The operator asks the MLflow registry, which names a place of another scheme."""
    HUB = "hub"
    """The operator asks the Hugging Face Hub, which has the files at a place of its own."""
    POD = "pod"
    """A pod of the release's own, with its credentials, where nobody says version and digest."""


WEB: Final = "web"
OBJECT_STORE: Final = "object store"
CLAIM: Final = "claim"
FOLDER: Final = "folder"
OCI: Final = "oci"
"""How the fetch container reads a place: keys of `modelrelease_serving.sources.OPENERS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One scheme: what its URIs look like, who reads them, and how they are fetched."""

    name: str
    """As in a URI, without the colon."""
    pattern: str
    """Regular expression of a whole URI, in the part of the language that Python and RE2 share."""
    forms: tuple[str, ...]
    """How its URIs are shown to a person."""
    read_by: Reader
    fetched_by: str | None = None
    """How the fetch container reads it; None where a registry names another place instead."""
    is_shared: bool = False
    """Whether pods everywhere find the same at a URI, so that a registry may keep models there."""

    @property
    def prefix(self) -> str:
        """What each of its URIs begins with."""
        return f"{self.name}:/" if self.read_by is Reader.REGISTRY else f"{self.name}://"


_WEB_PLACE: Final = r"[^\s?#@/]+(/[^\s?#]*)?"
_BUCKET_PLACE: Final = r"[a-z0-9]([-a-z0-9._]*[a-z0-9])?(/[^\s?#]*)?"
_CLAIM_PLACE: Final = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^\s?#]*)?"
_OCI_HOST: Final = r"[^\s?#@/]+"
_OCI_REPOSITORY: Final = r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
_OCI_VERSION: Final = r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})"


def _web(name: str) -> Scheme:
    return Scheme(
        name=name,
        pattern=f"{name}://{_WEB_PLACE}",
        forms=(f"{name}://host/path",),
        read_by=Reader.OPERATOR,
        fetched_by=WEB,
        is_shared=True,
    )


def _object_store(name: str) -> Scheme:
    return Scheme(
        name=name,
        pattern=f"{name}://{_BUCKET_PLACE}",
        forms=(f"{name}://bucket/path",),
        read_by=Reader.POD,
        fetched_by=OBJECT_STORE,
        is_shared=True,
    )


def _oci(name: str) -> Scheme:
    escaped = name.replace("+", r"\+")
    return Scheme(
        name=name,
        pattern=f"{escaped}://{_OCI_HOST}{_OCI_REPOSITORY}{_OCI_VERSION}",
        forms=(f"{name}://registry/repository:tag", f"{name}://registry/repository@sha256:digest"),
        read_by=Reader.OPERATOR,
        fetched_by=OCI,
    )


MODELS: Final = Scheme(
    name="models",
    pattern=r"models:/[^/@:\s?#]+(@[A-Za-z0-9_-]+|/[1-9][0-9]*)",
    forms=("models:/name@alias", "models:/name/number"),
    read_by=Reader.REGISTRY,
)
RUNS: Final = Scheme(
    name="runs",
    pattern=r"runs:/[A-Za-z0-9_-]+(/[^\s?#]+)?",
    forms=("runs:/run/path",),
    read_by=Reader.REGISTRY,
)
HF: Final = Scheme(
    name="hf",
    pattern=r"hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9._-]*",
    forms=("hf://owner/model@revision",),
    read_by=Reader.HUB,
)
PVC: Final = Scheme(
    name="pvc",
    pattern=f"pvc://{_CLAIM_PLACE}",
    forms=("pvc://claim/path",),
    read_by=Reader.POD,
    fetched_by=CLAIM,
)
FILE: Final = Scheme(
    name="file",
    pattern=r"file:///[^\s?#]+",
    forms=("file:///path",),
    read_by=Reader.POD,
    fetched_by=FOLDER,
)

PLAIN_OCI: Final = _oci("oci+http")
"""A registry that is asked without TLS."""

SCHEMES: tuple[Scheme, ...] = (
    MODELS,
    RUNS,
    _web("http"),
    _web("https"),
    PVC,
    FILE,
    _object_store("s3"),
    _object_store("gs"),
    _object_store("az"),
    _oci("oci"),
    PLAIN_OCI,
    HF,
)
"""All that there are, in the order in which messages name them."""


def named(name: str) -> Scheme | None:
    """Return the scheme of that name."""
    return next((scheme for scheme in SCHEMES if scheme.name == name), None)


def scheme_of(uri: str) -> Scheme | None:
    """Return the scheme that a URI begins with, whether or not the rest of it is right."""
    return next((scheme for scheme in SCHEMES if uri.startswith(scheme.prefix)), None)


def matches(uri: str) -> bool:
    """Say whether a URI is one that `spec.model.uri` may hold."""
    return any(re.fullmatch(scheme.pattern, uri) for scheme in SCHEMES)


def uri_pattern() -> str:
    """Return the one regular expression of all URIs, as the CRD spells it."""
    alternatives = "|".join(scheme.pattern for scheme in SCHEMES)
    return f"^({alternatives})$"


def uri_forms() -> str:
    """Return the forms of all URIs, for a message."""
    return _listed(list(chain.from_iterable(scheme.forms for scheme in SCHEMES)), "or")


def fetched_forms() -> str:
    """Return the forms of the URIs that the fetch container reads, for a message."""
    return _listed(list(_fetched_forms()), "or")


def may_be_archived(uri: str) -> bool:
    """Say whether the files at a URI may lie in an archive, which is copied whole to be read."""
    scheme = scheme_of(uri)
    return scheme is not None and scheme.fetched_by == OCI


def claim_in(uri: str) -> str | None:
    """Return the claim that a URI names, None where its scheme is of another kind."""
    parts = urlsplit(uri)
    scheme = named(parts.scheme)
    if scheme is None or scheme.fetched_by != CLAIM:
        return None
    return parts.netloc


def _fetched_forms() -> Iterator[str]:
    for scheme in SCHEMES:
        if scheme.fetched_by is not None:
            yield from scheme.forms


def _listed(words: list[str], conjunction: str) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"
