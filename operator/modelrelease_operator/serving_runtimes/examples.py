"""Which two servers are asked example rows in the shadow, because neither copies requests."""

from modelrelease_contract.shadow import RequestForm
from modelrelease_operator.api.status import Target
from modelrelease_operator.serving_runtimes.registry import runtime_of


def example_forms(release: str, stable: Target, canary: Target) -> tuple[RequestForm, ...]:
    """Return how stable and the canary are asked example rows; nothing where they are not.

    Both as the canary's release says: what was said of stable may be what had to be mended.
    """
    servers = [runtime_of(target.recipe) for target in (stable, canary)]
    if any(server.answers_copies for server in servers):
        return ()
    forms = (servers[1].form_for(release, target) for target in (stable, canary))
    return tuple(form for form in forms if form)


def asks_examples(stable: Target, canary: Target) -> bool:
    """Return whether these two are asked example rows in the shadow."""
    return bool(example_forms("", stable, canary))


def why_nobody_compares(stable: Target, canary: Target) -> str | None:
    """Say why there is nobody to compare two servers' answers, or return None."""
    servers = [runtime_of(target.recipe) for target in (stable, canary)]
    if all(server.answers_copies for server in servers) or asks_examples(stable, canary):
        return None
    ours, theirs = (server.name for server in servers)
    if any(server.answers_copies for server in servers):
        return (
            f"nobody compares stable's serving runtime ({ours}) with the canary's ({theirs}): one "
            "is our predictor and the other is not. Take canary.shadow away"
        )
    return f"nobody has said how serving runtime {theirs} is asked an example row"
