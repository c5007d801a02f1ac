"""What it means for the evidence that a Gateway keeps each client with one version."""

from modelrelease_operator.api.spec import ReleaseSpec


def clients_words(spec: ReleaseSpec) -> str | None:
    """Say what a release's own sessionPersistence means for its evidence; None where it has none.

    The requests of one client are alike, and all of them are one arm's: there are fewer chances
    than requests.
    """
    settings = spec.canary.routing.gateway_api
    if settings is None or settings.session_persistence is None:
        return None
    whose = (
        "as spec.analysis.dispersion says"
        if spec.analysis.dispersion > 1
        else "spec.analysis.dispersion sets another number"
    )
    return (
        "sessionPersistence keeps each client with one version, so requests of one client fail "
        f"together: evidence is divided by {spec.dispersion:g} ({whose})"
    )
