"""What a release may not ask of its model server, because that server cannot answer it."""

from collections.abc import Iterator

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.errors import Invalid
from modelrelease_operator.serving_runtimes.registry import runtime_for
from modelrelease_operator.serving_runtimes.runtime import ServingRuntime

TAKEN = ("/", "/tmp")  # noqa: S108 - paths inside of containers
"""Where every pod has something."""


def refusal_of_runtime(spec: ReleaseSpec) -> str | None:
    """Return why a spec cannot be served or judged by the server that it names, or None."""
    runtime = spec.serving.runtime.to_dict() if spec.serving.runtime else {}
    try:
        server = runtime_for(runtime)
    except Invalid as problem:
        return str(problem)
    if runtime and spec.serving.image is None:
        return (
            "spec.serving.runtime needs spec.serving.image: the operator's default image is the "
            "predictor's"
        )
    return next(_refusals(spec, server), None)


def refusal_of_signing(spec: ReleaseSpec, signing_keys: str) -> str | None:
    """Return why the signature that is wanted cannot be checked with the server, or None.

    `signing_keys` are the operator's, PEM. Raises Invalid where the server is not known.
    """
    own = spec.model.signature is not None
    server = runtime_for(spec.serving.runtime.to_dict() if spec.serving.runtime else {})
    if server.artifact.fetched or not (own or signing_keys):
        return None
    who = "spec.model.signature" if own else "the operator (chart value signatures.publicKeys)"
    return (
        f"{who} wants a signature to be checked, but serving runtime {server.name} gets the "
        "artifact by itself: set spec.serving.runtime.fetch to true"
    )


def _refusals(spec: ReleaseSpec, server: ServingRuntime) -> Iterator[str]:
    for gate in spec.analysis.gates:
        kind = gate.settings.kind
        if kind == "predictions" and not server.metrics.counts_bins:
            yield _cannot(gate.name, kind, server, "only our predictor counts predictions by bin")
        asks = gate.settings.asks
        by_gateway = spec.analysis.counted_by and asks in ("errorRate", "latency")
        if (reason := server.refused.get(asks)) and not by_gateway:
            what = kind if asks == kind else f"{kind} with metric {asks}"
            yield _cannot(gate.name, what, server, reason)
    if spec.analysis.probe and server.prober_args is None:
        yield f"spec.analysis.probe: serving runtime {server.name} answers no probes: take it away"
    yield from _about_directory(spec, server)
    if spec.model.cache and not server.artifact.fetched:
        yield (
            f"spec.model.cache: serving runtime {server.name} fetches the model by itself "
            "(spec.serving.runtime.fetch), past the cache: take the cache away"
        )
    if spec.model.image_volume and not server.artifact.fetched:
        yield (
            f"spec.model.imageVolume: serving runtime {server.name} gets the model by itself "
            "(spec.serving.runtime.fetch), so nothing is mounted: take imageVolume away"
        )
    if spec.canary.shadow and not server.answers_copies:
        yield from _without_examples(server)


def _about_directory(spec: ReleaseSpec, server: ServingRuntime) -> Iterator[str]:
    """Say why the model cannot be mounted where the server looks for it."""
    directory = server.artifact.directory
    mounted = {mount["mountPath"] for mount in spec.serving.volume_mounts}
    if directory in TAKEN:
        yield (
            f"spec.serving.runtime.modelDirectory: {directory} holds other files of the pod: name "
            "a folder of the model's own, such as /mnt/models"
        )
    elif directory in mounted:
        yield (
            f"spec.serving.volumeMounts: the model of serving runtime {server.name} is mounted at "
            f"{directory} already: name another mountPath, or another "
            "spec.serving.runtime.modelDirectory"
        )


def _without_examples(server: ServingRuntime) -> Iterator[str]:
    """Say why a server that copies no requests cannot be asked example rows instead."""
    begin = f"spec.canary.shadow: serving runtime {server.name}"
    if server.example_requests is None:
        yield (
            f"{begin} copies no requests, and nobody has said how it is asked an example row: set "
            "spec.serving.runtime.exampleRequests.path and body, or take canary.shadow away"
        )
    if not server.artifact.fetched:
        yield (
            f"{begin} copies no requests, and the example rows to ask instead are in the artifact, "
            "which is not fetched (spec.serving.runtime.fetch): take canary.shadow away"
        )


def _cannot(gate: str, kind: str, server: ServingRuntime, reason: str) -> str:
    return (
        f"spec.analysis.gates: gate {gate} of kind {kind} cannot be answered by the counters of "
        f"serving runtime {server.name}: {reason}. Name other gates in spec.analysis.gates, such "
        "as one of kind counts, or have a gateway count: spec.analysis.countedBy"
    )
