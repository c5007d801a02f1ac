"""What a release may not ask for: one answer for whoever refuses it, before its pods or after.

The operator asks before it makes a revision's pods, and before a Job reads an artifact for one;
`validate` and `doctor` ask beforehand, as far as they know what the operator was installed with.
"""

from dataclasses import dataclass

from modelrelease_operator.api.pod_policy import EVERYTHING, Allowed
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.serving_runtimes import refusal_of_runtime, refusal_of_signing
from modelrelease_operator.traffic.counted_by import refusal_of_counting


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What whoever installed the operator wants of revisions that begin from now on."""

    allowed: Allowed = EVERYTHING
    """What a pod template may set."""
    signing_keys: str = ""
    """Public keys, PEM, with one of which an artifact must be signed; empty: with none."""

    def refusal(self, spec: ReleaseSpec) -> str | None:
        """Return why a spec cannot be followed, or None."""
        return (
            refusal_of_runtime(spec)
            or refusal_of_counting(spec)
            or self.allowed.refusal_of_serving(spec)
            or refusal_of_signing(spec, self.signing_keys)
        )


ANYTHING = Policy()
"""What holds however the operator was installed, and for revisions that run already."""
