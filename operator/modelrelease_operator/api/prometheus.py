"""Where a release's metrics are read, and how the operator proves itself there."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import StringConstraints, model_validator

from modelrelease_operator.api.model import Model

SecretName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253),
]
KeyName = Annotated[
    str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)
]

Tenant = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9!_.*'()|-]+$", min_length=1, max_length=150)
]
"""As Mimir takes them: several are divided by `|`."""


class Source(StrEnum):
    """Who shows the counters of a release's pods."""

    PROMETHEUS = "Prometheus"
    PODS = "Pods"
    """The pods themselves, on their own pages of metrics."""


class SecretKey(Model):
    """One key of a Secret in the release's namespace."""

    name: SecretName
    key: KeyName


class SecretPair(Model):
    """A Secret in the release's namespace with the keys `username` and `password`."""

    name: SecretName


class Prometheus(Model):
    """Where the metrics are read."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@?#]+$", max_length=2048)]
    bearer_token_secret_ref: SecretKey | None = None
    basic_auth_secret_ref: SecretPair | None = None
    ca_secret_ref: SecretKey | None = None
    tenant: Tenant | None = None
    """Whose series are meant, where one server has those of many."""
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.bearer_token_secret_ref and self.basic_auth_secret_ref:
            msg = "set either bearerTokenSecretRef or basicAuthSecretRef, not both"
            raise ValueError(msg)
        if self.ca_secret_ref and self.insecure_skip_verify:
            msg = "caSecretRef verifies what insecureSkipVerify does not: set one of them"
            raise ValueError(msg)
        return self

    @property
    def names_secrets(self) -> bool:
        """Return whether a Secret must be read."""
        return any((self.bearer_token_secret_ref, self.basic_auth_secret_ref, self.ca_secret_ref))
