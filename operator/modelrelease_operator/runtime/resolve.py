"""From the model source of a spec to one immutable version: looked up once, then kept in status."""

import hashlib
import json
import re
from dataclasses import dataclass

from pydantic import ValidationError

from modelrelease_contract import (
    MANIFEST_NAME,
    MLMODEL_NAME,
    ArtifactIdentity,
    ArtifactManifest,
    manifest_digest,
    schemes,
)
from modelrelease_contract.oci import Reference
from modelrelease_operator.api.pods import CACHE, CREDENTIALS, IMAGE_VOLUME, SIGNATURE
from modelrelease_operator.api.registry import (
    TAG_DIGEST,
    TAG_VERSION,
    Registered,
    model_ref,
    run_ref,
)
from modelrelease_operator.api.spec import VERSION_PATTERN, ModelSource, ReleaseSpec
from modelrelease_operator.api.status import Recipe, Resolved, Status, Target, Verifier
from modelrelease_operator.core.memo import Memo
from modelrelease_operator.errors import Invalid, NotRead, Unavailable
from modelrelease_operator.runtime.mlflow import FAILED, READY, Registry
from modelrelease_operator.runtime.oci_registry import Repository
from modelrelease_operator.runtime.stores import NotThere, Stores

COMMIT = r"[0-9a-f]{40}"
MANIFEST_LIMIT = 8 * 1024 * 1024
"""Bytes: far above any manifest, far below what would hurt the operator."""


def is_current(resolved: Resolved | None, source: ModelSource) -> bool:
    """Return whether what was looked up is what the spec still asks for."""
    if resolved is None or (source.image_volume and not resolved.mounted):
        return False
    return (
        resolved.uri,
        resolved.pinned_version,
        resolved.pinned_sha256,
    ) == (
        source.uri,
        source.version,
        source.sha256,
    )


async def resolve(
    source: ModelSource,
    registry: Registry | None = None,
    *,
    stores: Stores | None = None,
    namespace: str = "",
) -> Resolved:
    """Find out which version and digest a source means now; what is pinned is not read.

    Raises Unavailable when the store does not answer, Invalid when what it holds cannot be
    released, NeedsPod where only a pod of the release can tell.
    """
    reader = _Reader(
        source=source, registry=registry, stores=stores or Stores(), namespace=namespace
    )
    scheme = schemes.scheme_of(source.uri)
    if scheme and scheme.read_by is schemes.Reader.REGISTRY:
        return await _resolve_registered(source, registry, reader)
    if scheme and scheme.read_by is schemes.Reader.HUB:
        return await _resolve_in_hub(source, reader)
    if source.pinned and not _is_tag_to_mount(source):
        return _resolved(source, source.version or "", source.sha256 or "")
    if scheme and scheme.read_by is schemes.Reader.POD:
        raise NeedsPod(Place(location=source.uri))
    if scheme and scheme.fetched_by == schemes.OCI:
        return await _resolve_in_registry(source, reader)
    version, digest = await reader.read(Place(location=source.uri))
    return _resolved(source, version, digest)


def resolved_by_pod(source: ModelSource, place: "Place", found: ArtifactIdentity) -> Resolved:
    """Return what a source means where a pod found out what is at its place.

    Raises Invalid where that is not what the source or its registry says.
    """
    _check_pins(source, found.version, found.sha256)
    _check_registered(source, place, found.sha256)
    resolved = _resolved(source, found.version, found.sha256, place)
    return resolved.but(location=None) if place.location == source.uri else resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an artifact is, and what a registry says of it."""

    location: str
    """Where a pod finds it."""
    registered: Registered | None = None
    digest: str | None = None
    version: str | None = None


class NeedsPod(Exception):
    """Only a pod of the release can find out what a place holds."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.location)
        self.place = place


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Reads the manifest of an artifact that the operator can reach."""

    source: ModelSource
    registry: Registry | None
    stores: Stores
    namespace: str

    async def read(self, place: Place, *, may_move: bool = False) -> tuple[str, str]:
        """Return version and digest. Raises NeedsPod for a folder that MLflow wrote."""
        try:
            raw = await self._file(place, MANIFEST_NAME, may_move)
        except NotThere as problem:
            try:
                await self._file(place, MLMODEL_NAME, may_move)
            except NotThere:
                raise problem from None
            raise NeedsPod(place) from problem
        return self.understood(raw)

    async def _file(self, place: Place, name: str, may_move: bool) -> bytes:
        url = f"{place.location.rstrip('/')}/{name}"
        own = self.registry.credentials_for(url) if self.registry else None
        return await self.stores.read(
            url, self.source, self.namespace, limit=MANIFEST_LIMIT, own=own, may_move=may_move
        )

    def understood(self, raw: bytes) -> tuple[str, str]:
        """Return version and digest of a manifest, if it is what the source asks for."""
        digest = manifest_digest(raw)
        return _checked(self.source, raw, digest).version, digest


async def _resolve_in_registry(source: ModelSource, reader: _Reader) -> Resolved:
    """Find out what a tag or a digest of an OCI registry holds; from then on it is a digest."""
    repository = await Repository.of(source, reader.stores, reader.namespace)
    try:
        found = await repository.read(
            MANIFEST_NAME, limit=MANIFEST_LIMIT, to_mount=source.image_volume is not None
        )
    except NotRead as problem:
        raise NeedsPod(Place(location=problem.location or source.uri)) from problem
    version, digest = reader.understood(found.content)
    _check_path(source, found.folder)
    return _resolved(source, version, digest, Place(location=found.location))


def _is_tag_to_mount(source: ModelSource) -> bool:
    """Return whether nodes would be told a tag, which each of them would resolve for itself."""
    return source.image_volume is not None and not Reference.parse(source.uri).is_pinned


def _check_path(source: ModelSource, folder: str) -> None:
    """Raise Invalid where the image to mount holds the model in another folder than is said."""
    if source.image_volume and (source.image_volume.path or "") != folder:
        mended = f"set spec.model.imageVolume.path to {folder}" if folder else "leave path out"
        msg = (
            f"spec.model.imageVolume.path is {source.image_volume.path or ''!r}, but the image at "
            f"{source.uri} has {MANIFEST_NAME} in {folder or 'its top folder'}: {mended}"
        )
        raise Invalid(msg)


async def _resolve_in_hub(source: ModelSource, reader: _Reader) -> Resolved:
    """Find out which commit a revision of a repository means; from then on it is that commit."""
    repository, _, revision = source.uri.removeprefix(f"{schemes.HF.name}://").partition("@")
    hub = reader.stores.settings.hub_url.rstrip("/")
    commit = revision
    if not re.fullmatch(COMMIT, revision):
        url = f"{hub}/api/models/{repository}/revision/{revision}"
        raw = await reader.stores.read(
            url, source, reader.namespace, limit=MANIFEST_LIMIT, may_move=True
        )
        commit = _commit_in(raw, url)
    location = f"{hub}/{repository}/resolve/{commit}"
    if source.pinned:
        version, digest = source.version or "", source.sha256 or ""
    else:
        version, digest = await reader.read(Place(location=location), may_move=True)
    return _resolved(source, version, digest, Place(location=location))


def _commit_in(raw: bytes, url: str) -> str:
    try:
        commit = str(json.loads(raw)["sha"])
    except (ValueError, LookupError, TypeError, RecursionError):
        commit = ""
    if not re.fullmatch(COMMIT, commit):
        msg = f"{url} names no commit: chart value stores.hubUrl must be a Hugging Face Hub"
        raise Unavailable(msg)
    return commit


async def _resolve_registered(
    source: ModelSource, registry: Registry | None, reader: _Reader
) -> Resolved:
    if registry is None:
        msg = (
            f"spec.model.uri {source.uri} needs an MLflow tracking server, and the operator knows "
            "none: install it with the chart value mlflow.trackingUri"
        )
        raise Invalid(msg)
    entry = await _look_up(source, registry)
    scheme = schemes.scheme_of(entry.location)
    is_readable = scheme is not None and scheme.read_by is schemes.Reader.OPERATOR
    if is_readable and not source.pinned:
        version, digest = await reader.read(entry)
    else:
        version, digest = _as_registered(source, entry)
    _check_registered(source, entry, digest)
    return _resolved(source, version, digest, entry)


def _check_registered(source: ModelSource, entry: Place, digest: str) -> None:
    """Raise Invalid where a registry's tag names another digest than what is there has."""
    if entry.digest and entry.digest != digest:
        msg = (
            f"spec.model.uri {source.uri} is {entry.registered}, whose tag {TAG_DIGEST} says "
            f"{entry.digest}, but the artifact at {entry.location} has {digest}: it was changed "
            "after it was registered"
        )
        raise Invalid(msg)


async def _look_up(source: ModelSource, registry: Registry) -> Place:
    if run := run_ref(source.uri):
        return Place(location=registry.place(await registry.artifacts_of_run(run.run), run.path))
    ref = model_ref(source.uri)
    if ref is None:
        msg = f"spec.model.uri {source.uri} is neither models:/name@alias nor models:/name/number"
        raise Invalid(msg)
    entry = await registry.version(ref)
    name = f"spec.model.uri {source.uri} is {entry.registered}, which"
    if entry.status == FAILED:
        msg = f"{name} failed to register"
        raise Invalid(msg)
    if entry.status != READY:
        msg = f"{name} is {entry.status}"
        raise Unavailable(msg)
    digest = entry.tags.get(TAG_DIGEST)
    if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
        msg = f"{name} has the tag {TAG_DIGEST} {digest!r}, which is no sha256"
        raise Invalid(msg)
    version = entry.tags.get(TAG_VERSION)
    if version is not None and not (len(version) <= 63 and re.fullmatch(VERSION_PATTERN, version)):
        msg = (
            f"{name} has the tag {TAG_VERSION} {version[:80]!r}, which cannot be a label of pods: "
            "at most 63 letters, digits, '-', '_' and '.', with a letter or a digit at both ends"
        )
        raise Invalid(msg)
    place = await registry.artifacts_of(entry.registered)
    return Place(
        location=registry.place(place),
        registered=entry.registered,
        digest=digest,
        version=version,
    )


def _as_registered(source: ModelSource, entry: Place) -> tuple[str, str]:
    """Return version and digest of an artifact that only pods can read, as registered or pinned.

    Raises NeedsPod where neither says both.
    """
    version, digest = source.version or entry.version, source.sha256 or entry.digest
    if not (version and digest):
        raise NeedsPod(entry)
    return version, digest


def _resolved(
    source: ModelSource, version: str, digest: str, entry: Place | None = None
) -> Resolved:
    return Resolved(
        uri=source.uri,
        pinned_version=source.version,
        pinned_sha256=source.sha256,
        version=version,
        sha256=digest,
        location=entry.location if entry else None,
        registered=entry.registered if entry else None,
        mounted=source.image_volume is not None,
    )


TARGETS_KEPT = 1024
_targets: Memo[Target] = Memo(TARGETS_KEPT)


def target_for_spec(
    spec: ReleaseSpec, resolved: Resolved, *, default_image: str, signing_keys: str = ""
) -> Target:
    """Return the revision that a spec means: the same inputs always give the same revision.

    `signing_keys` are those of which the operator wants one.
    """
    # By the very object, which the memo keeps, so that no other has its id: a template with a 1 and
    # one with a true are equal to Python, and are not the same revision.
    return _targets.of(
        (id(spec), default_image, signing_keys),
        (spec, resolved),
        lambda: _target_for_spec(spec, resolved, default_image, signing_keys),
    )


def _target_for_spec(
    spec: ReleaseSpec, resolved: Resolved, default_image: str, signing_keys: str
) -> Target:
    serving, pod = spec.serving, spec.serving.pod_fields()
    if spec.model.credentials_secret_ref:
        pod[CREDENTIALS] = spec.model.credentials_secret_ref.name
    if spec.model.cache:
        pod[CACHE] = spec.model.cache.persistent_volume_claim.claim_name
    if spec.model.signature:
        pod[SIGNATURE] = spec.model.signature.key.to_ref()
    if spec.model.image_volume:
        pod[IMAGE_VOLUME] = {"path": spec.model.image_volume.path or ""}
    is_verified = bool(spec.model.signature or signing_keys)
    runtime = serving.runtime.to_dict() if serving.runtime else {}
    recipe = Recipe(
        image=serving.image or default_image,
        resources=serving.resources.to_dict(),
        env=tuple(item.to_dict() for item in serving.env),
        pod_template=serving.pod_template,
        pod=pod,
        runtime=runtime,
        fetch_image=default_image if runtime else None,
        verifier=Verifier(image=default_image, keys=signing_keys) if is_verified else None,
    )
    uri = resolved.location or resolved.uri
    identity = {"uri": uri, "sha256": resolved.sha256, "recipe": recipe.identity}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return Target(
        revision=hashlib.sha256(text.encode()).hexdigest()[:10],
        version=resolved.version,
        uri=uri,
        sha256=resolved.sha256,
        recipe=recipe,
        registered=resolved.registered,
    )


def unread_target(spec: ReleaseSpec, place: Place, *, default_image: str) -> Target:
    """Return what a spec means before its artifact was read: what has to be read, and how."""
    model = spec.model
    number = place.registered.version if place.registered else ""
    resolved = Resolved(
        uri=model.uri,
        version=model.version or place.version or number,
        sha256=model.sha256 or place.digest or "",
        location=place.location,
    )
    return target_for_spec(spec, resolved, default_image=default_image)


def target_for_release(
    spec: ReleaseSpec,
    resolved: Resolved,
    status: Status,
    *,
    default_image: str,
    signing_keys: str = "",
    renewed: bool = False,
) -> Target:
    """Return what a spec means beside what is known of its release.

    A spec that still describes a revision which the release knows, but for a default image that is
    another one now, means that revision: an upgrade of the operator starts no canary. `renewed`: a
    person asked for the new default.
    """
    target = _known_or_new(
        spec, resolved, status,
        default_image=default_image, signing_keys=signing_keys, renewed=renewed,
    )  # fmt: skip
    serving = status.stable
    if spec.model.cache is None or serving is None or serving.sha256 == target.sha256:
        return target
    return target.but(recipe=target.recipe.but(keeps=serving.sha256))


def _known_or_new(
    spec: ReleaseSpec,
    resolved: Resolved,
    status: Status,
    *,
    default_image: str,
    signing_keys: str,
    renewed: bool,
) -> Target:
    target = target_for_spec(spec, resolved, default_image=default_image, signing_keys=signing_keys)
    known = _known_revisions(status, resolved)
    if spec.serving.image or renewed or target.revision in known:
        return target
    for revision, image in known.items():
        kept = target_for_spec(spec, resolved, default_image=image, signing_keys=signing_keys)
        if kept.revision == revision:
            return kept
    return target


def _known_revisions(status: Status, resolved: Resolved) -> dict[str, str]:
    """Return the images of the revisions that a release remembers, but those that a spec named:
    a spec that names none any more asks for the default.
    """
    held = [target for target in (status.canary, status.stable, status.previous) if target]
    known = {target.revision: target.recipe.image for target in held}
    image = (status.resolved or resolved).image
    if status.rejected and image:
        known.setdefault(status.rejected.revision, image)
    named = status.resolved.named_image if status.resolved else None
    return {revision: image for revision, image in known.items() if image != named}


def _checked(source: ModelSource, raw: bytes, digest: str) -> ArtifactManifest:
    try:
        manifest = ArtifactManifest.model_validate_json(raw)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = (
            f"spec.model.uri {source.uri}: {MANIFEST_NAME} is not valid at {where!r}: "
            f"{first['msg']}"
        )
        raise Invalid(msg) from problem
    _check_pins(source, manifest.version, digest)
    return manifest


def _check_pins(source: ModelSource, version: str, digest: str) -> None:
    """Raise Invalid where a source names another version or digest than the artifact has."""
    if source.sha256 and source.sha256 != digest:
        msg = f"spec.model.sha256 is {source.sha256}, but the artifact at {source.uri} has {digest}"
        raise Invalid(msg)
    if source.version and source.version != version:
        msg = (
            f"spec.model.version is {source.version!r}, but the artifact at {source.uri} is "
            f"{version!r}"
        )
        raise Invalid(msg)
