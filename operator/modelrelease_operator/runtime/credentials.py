"""How the operator proves itself to a Prometheus: read from Secrets of the release's own namespace.

Only Secrets that the release names, and only where the person who installed the operator allowed it:
whoever may create a release could otherwise send a Secret of the namespace to a server of their own.
Nothing here is logged, and no value of a Secret is in any sentence.
"""

import base64
import binascii
from dataclasses import dataclass, field

from modelrelease_operator.api.prometheus import Prometheus, SecretKey
from modelrelease_operator.errors import Gone, Invalid, Unavailable
from modelrelease_operator.runtime.kube import Kube

NOT_ALLOWED = (
    "the operator may not read Secrets, which spec.analysis.prometheus names: "
    "install it with the chart value prometheus.allowSecretRefs=true"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What is shown to one Prometheus, and what is believed of it."""

    token: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)
    """Certificates, PEM, that the server's must be signed by."""
    verify: bool = True

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return every text that must not be seen, in each form in which it could be."""
        pair = f"{self.username}:{self.password}" if self.password else ""
        coded = base64.b64encode(pair.encode()).decode() if pair else ""
        return tuple(text for text in (coded, self.token, self.password) if text)

    def hidden_in(self, sentence: str) -> str:
        """Return a sentence without what a server may have repeated of them."""
        for secret in self.secrets:
            sentence = sentence.replace(secret, "…")
        return sentence


async def read_credentials(
    kube: Kube, namespace: str, asked: Prometheus | None, *, allowed: bool
) -> Credentials:
    """Read what a release names; raise Unavailable with a sentence where it cannot be had."""
    if asked is None or not asked.names_secrets:
        return Credentials(verify=not (asked and asked.insecure_skip_verify))
    if not allowed:
        raise Unavailable(NOT_ALLOWED)
    token = ca = username = password = None
    if asked.bearer_token_secret_ref:
        token = await _value(kube, namespace, asked.bearer_token_secret_ref)
        if not (token.isascii() and token.isprintable() and " " not in token):
            ref = asked.bearer_token_secret_ref
            msg = f"Secret {namespace}/{ref.name}: key {ref.key} is no bearer token (spaces or line breaks)"
            raise Unavailable(msg)
    if asked.basic_auth_secret_ref:
        name = asked.basic_auth_secret_ref.name
        username = await _value(kube, namespace, SecretKey(name=name, key="username"))
        password = await _value(kube, namespace, SecretKey(name=name, key="password"))
    if asked.ca_secret_ref:
        ca = await _value(kube, namespace, asked.ca_secret_ref)
    return Credentials(
        token=token, username=username, password=password, ca=ca, verify=not asked.insecure_skip_verify
    )


async def _value(kube: Kube, namespace: str, ref: SecretKey) -> str:
    """Return one value; line breaks at its end, which editors leave, are not part of it."""
    what = f"Secret {namespace}/{ref.name}"
    try:
        secret = await kube.get("Secret", namespace, ref.name)
    except Gone as problem:
        msg = f"{what}, which spec.analysis.prometheus names, does not exist"
        raise Unavailable(msg) from problem
    except Invalid as problem:
        raise Unavailable(NOT_ALLOWED) from problem
    coded = (secret.get("data") or {}).get(ref.key)
    if not coded:
        msg = f"{what} has no key {ref.key}, which spec.analysis.prometheus needs"
        raise Unavailable(msg)
    try:
        return base64.b64decode(coded, validate=True).decode().rstrip("\r\n")
    except (binascii.Error, UnicodeDecodeError):
        msg = f"{what}: key {ref.key} is no text"
        # The cause would quote the value.
        raise Unavailable(msg) from None
