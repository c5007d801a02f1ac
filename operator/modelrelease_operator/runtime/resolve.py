"""From the model source of a spec to one immutable version: looked up once, then kept in status."""

import hashlib
import json

import aiohttp
from pydantic import ValidationError

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest, manifest_digest
from modelrelease_operator.api.spec import POD_ONLY_SCHEMES, ModelSource, ReleaseSpec
from modelrelease_operator.api.status import Recipe, Resolved, Target
from modelrelease_operator.errors import Invalid, Unavailable

MANIFEST_LIMIT = 8 * 1024 * 1024
"""Bytes: far above any manifest, far below what would hurt the operator."""
TIMEOUT = aiohttp.ClientTimeout(total=10)


def still_means(resolved: Resolved | None, source: ModelSource) -> bool:
    """Return whether what was looked up is what the spec still asks for."""
    return resolved is not None and (resolved.uri, resolved.pinned_version, resolved.pinned_sha256) == (
        source.uri,
        source.version,
        source.sha256,
    )


async def resolve(source: ModelSource) -> Resolved:
    """Find out which version and digest a source means now.

    Raises Unavailable when the store does not answer, Invalid when what it holds cannot be released.
    """
    if source.uri.startswith(POD_ONLY_SCHEMES):
        version, digest = source.version or "", source.sha256 or ""
    else:
        raw = await _download(f"{source.uri.rstrip('/')}/{MANIFEST_NAME}")
        digest = manifest_digest(raw)
        version = _checked(source, raw, digest).version
    return Resolved(
        uri=source.uri,
        pinned_version=source.version,
        pinned_sha256=source.sha256,
        version=version,
        sha256=digest,
    )


def target_of(spec: ReleaseSpec, resolved: Resolved, *, default_image: str) -> Target:
    """Return the revision that a spec means: the same inputs always give the same revision."""
    recipe = Recipe(
        image=spec.serving.image or default_image,
        resources=spec.serving.resources,
        env=spec.serving.env,
        pod_template=spec.serving.pod_template,
    )
    identity = {"uri": resolved.uri, "sha256": resolved.sha256, "recipe": recipe.model_dump(mode="json")}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return Target(
        revision=hashlib.sha256(text.encode()).hexdigest()[:10],
        version=resolved.version,
        uri=resolved.uri,
        sha256=resolved.sha256,
        recipe=recipe,
    )


def _checked(source: ModelSource, raw: bytes, digest: str) -> ArtifactManifest:
    try:
        manifest = ArtifactManifest.model_validate_json(raw)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = f"spec.model.uri {source.uri}: {MANIFEST_NAME} is not valid at {where!r}: {first['msg']}"
        raise Invalid(msg) from problem
    if source.sha256 and source.sha256 != digest:
        msg = f"spec.model.sha256 is {source.sha256}, but the artifact at {source.uri} has {digest}"
        raise Invalid(msg)
    if source.version and source.version != manifest.version:
        found = manifest.version
        msg = f"spec.model.version is {source.version!r}, but the artifact at {source.uri} is {found!r}"
        raise Invalid(msg)
    return manifest


async def _download(url: str) -> bytes:
    try:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session, session.get(url) as answer:
            if answer.status in (401, 403, 404, 410):
                msg = f"{url} answered {answer.status}: there is no artifact for spec.model.uri"
                raise Invalid(msg)
            if answer.status != 200:
                msg = f"{url} answered {answer.status}"
                raise Unavailable(msg)
            raw = await answer.content.read(MANIFEST_LIMIT + 1)
            while len(raw) <= MANIFEST_LIMIT and (more := await answer.content.read(MANIFEST_LIMIT)):
                raw += more
    except (TimeoutError, aiohttp.ClientError, OSError) as problem:
        msg = f"{url} does not answer ({type(problem).__name__})"
        raise Unavailable(msg) from problem
    if len(raw) > MANIFEST_LIMIT:
        msg = f"{url} is larger than {MANIFEST_LIMIT} bytes: that is no manifest"
        raise Invalid(msg)
    return raw
