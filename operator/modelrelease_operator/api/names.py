"""Every name, label and annotation key of ours, spelled once."""

import re

GROUP = "modelrelease.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ModelRelease"
PLURAL = "modelreleases"
FIELD_MANAGER = "modelrelease-operator"

LABEL_RELEASE = f"{GROUP}/release"
LABEL_REVISION = f"{GROUP}/revision"
LABEL_TRACK = f"{GROUP}/track"
LABEL_VERSION = f"{GROUP}/version"
LABEL_RETRAIN = f"{GROUP}/retrain"
"""Of a Job and its pods: the request that they answer."""
LABEL_READER = f"{GROUP}/reader"
"""Of a Job that finds out what an artifact is, and of its pods: what is read, as a number."""
LABEL_PROBER = f"{GROUP}/prober"
"""On pods of a prober instead of the release's own label:
no Service of the release may select them.
"""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "modelrelease-operator"

# Commands are annotations that name the revision (or version) they are about. Each counts once,
# when it is first seen, and only if it answers what is asked then: one that is left behind does
# nothing.
ANNOTATION_APPROVE = f"{GROUP}/approve"
ANNOTATION_PROMOTE = f"{GROUP}/promote"
ANNOTATION_ABORT = f"{GROUP}/abort"
ANNOTATION_RETRY = f"{GROUP}/retry"
ANNOTATION_RETRAIN = f"{GROUP}/retrain"
ANNOTATION_IMAGE = f"{GROUP}/serving-image"
"""Names the default image that a release without one of its own is to take up."""
ANNOTATION_TEMPLATE = f"{GROUP}/pod-template"
"""On a Deployment: the pod template that its revision began with."""
ANNOTATION_RUNTIME = f"{GROUP}/serving-runtime"
"""On pods: which model server they run, where that is not our predictor."""

ANNOTATION_WITHOUT = f"{GROUP}/without"
"""On the Lease: what the operator that holds it may not do, a sentence a line."""

NO_REVISION = "none"
"""A revision that no pod has: the selector of a Service that shall have no endpoints."""


def workload_name(release: str, revision: str) -> str:
    """Return the name of the Deployment that runs one revision."""
    return f"{release}-{revision}"


LONGEST_POD_STEM = 58
"""Characters of a pod's name before the five that make it unlike any other: more are cut off."""
TEMPLATE_HASH = 10
"""Characters that a ReplicaSet's name has at most after its Deployment's and a dash."""


def pods_pattern(release: str, revision: str) -> str:
    """Return a regular expression of the names of a revision's pods, and of no other release's.

    `revision` may be an expression itself, where that of any revision is wanted.
    """
    stem = f"{workload_name(release, revision)}-"
    if len(stem) + TEMPLATE_HASH < LONGEST_POD_STEM:
        return f"{stem}[a-z0-9]+-[a-z0-9]{{5}}"
    return f"{stem[:LONGEST_POD_STEM]}[-a-z0-9]+"


def retrain_job_name(release: str, request: str) -> str:
    """Return the name of a request's Job:
    at most 63 characters, because pods carry it as a label.
    """
    tail = f"-retrain-{request}"
    return release[: 63 - len(tail)].rstrip("-") + tail


def reader_job_name(release: str, place: str) -> str:
    """Return the name of the Job that reads an artifact, as long at most as a retraining's."""
    tail = f"-read-{place}"
    return release[: 63 - len(tail)].rstrip("-") + tail


def prober_name(release: str, canary: str) -> str:
    """Return the name of the Deployment that probes while a revision is the canary."""
    return f"{workload_name(release, canary)}-probe"


def service_names(release: str) -> tuple[str, str, str]:
    """Return the names of the Services: what clients call, the stable revision's, the canary's."""
    return release, f"{release}-stable", f"{release}-canary"


def problem_of(release: str) -> str | None:
    """Return why a release may not have this name, as the schema says it, or None."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", release):
        return (
            "metadata.name must be at most 50 characters, start with a letter and hold only a-z, "
            f"0-9 and '-', got {release!r}"
        )
    for suffix in ("-stable", "-canary"):
        if release.endswith(suffix):
            other = release.removesuffix(suffix)
            return (
                f"metadata.name {release} must not end in -stable or -canary; "
                f"a release {other} names a Service {release}"
            )
    return None
