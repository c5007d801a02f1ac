"""How the operator proves itself to servers: read from Secrets of the release's own namespace.

Only Secrets that the release names, and only where the person who installed the operator allowed
it: whoever may create a release could otherwise send a Secret of the namespace to a server of their
own. Nothing here is logged, and no value of a Secret is in any sentence.
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from html import escape
from itertools import chain
from urllib.parse import quote, quote_plus

from modelrelease_operator.api.prometheus import Prometheus, SecretKey
from modelrelease_operator.errors import Gone, Invalid, Unavailable
from modelrelease_operator.runtime.kube import Kube

NOT_ALLOWED = (
    "the operator may not read Secrets, which spec.analysis.prometheus names: "
    "install it with the chart value prometheus.allowSecretRefs=true"
)
STORE_NOT_ALLOWED = (
    "the operator may not read Secrets, which spec.model.credentialsSecretRef names: pin "
    "spec.model.version and spec.model.sha256, with which it does not read the store, or install "
    "it with the chart value prometheus.allowSecretRefs=true"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What is shown to one server, and what is believed of it."""

    token: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)
    """Certificates, PEM, that the server's must be signed by."""
    verify: bool = True
    tenant: str | None = None
    """Whose series are asked for, where one server has those of many."""
    fence: tuple[str, str] | None = None
    """A parameter of every question and its value, by which a proxy shows these series alone."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return every text that must not be seen, in each form in which it could be."""
        pair = f"{self.username}:{self.password}" if self.password else ""
        coded = base64.b64encode(pair.encode()).decode() if pair else ""
        plain = [text for text in (coded, self.token, self.password) if text]
        forms = set(chain.from_iterable(map(_forms_of, plain)))
        # The longest first: one may be a part of another.
        return tuple(sorted(forms, key=len, reverse=True))

    def hidden_in(self, sentence: str) -> str:
        """Return a sentence without what a server may have repeated of them."""
        for secret in self.secrets:
            sentence = sentence.replace(secret, "…")
        return sentence


def _forms_of(text: str) -> tuple[str, ...]:
    """Return a text as it stands, in JSON, in an address, in HTML, and as Python shows it."""
    in_json = (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    in_address = (quote(text, safe=""), quote_plus(text))
    return (text, *in_json, *in_address, escape(text), repr(text)[1:-1])


async def read_credentials(
    kube: Kube, namespace: str, named: Prometheus | None, *, allowed: bool
) -> Credentials:
    """Read what a release names; raise Unavailable with a sentence where it cannot be had."""
    if named is None or not named.names_secrets:
        verify = not (named and named.insecure_skip_verify)
        return Credentials(verify=verify, tenant=named.tenant if named else None)
    if not allowed:
        raise Unavailable(NOT_ALLOWED)
    token = ca = username = password = None
    if named.bearer_token_secret_ref:
        ref = named.bearer_token_secret_ref
        token = _bearer(await _value(kube, namespace, ref), ref.name, ref.key, namespace)
    if named.basic_auth_secret_ref:
        name = named.basic_auth_secret_ref.name
        username = await _value(kube, namespace, SecretKey(name=name, key="username"))
        password = await _value(kube, namespace, SecretKey(name=name, key="password"))
    if named.ca_secret_ref:
        ca = await _value(kube, namespace, named.ca_secret_ref)
    return Credentials(
        token=token,
        username=username,
        password=password,
        ca=ca,
        verify=not named.insecure_skip_verify,
        tenant=named.tenant,
    )


async def read_store_credentials(
    kube: Kube, namespace: str, name: str, *, allowed: bool
) -> Credentials:
    """Read the Secret of spec.model.credentialsSecretRef: a token, or user name and password."""
    if not allowed:
        raise Unavailable(STORE_NOT_ALLOWED)
    data = await _data(kube, namespace, name, "spec.model.credentialsSecretRef", STORE_NOT_ALLOWED)
    what = f"Secret {namespace}/{name}, which spec.model.credentialsSecretRef names,"
    if data.get("token"):
        return Credentials(
            token=_bearer(_decoded(data, name, "token", namespace), name, "token", namespace)
        )
    if not (data.get("username") and data.get("password")):
        msg = f"{what} has neither the key token nor the keys username and password"
        raise Unavailable(msg)
    username, password = (_decoded(data, name, key, namespace) for key in ("username", "password"))
    return Credentials(username=username, password=password)


async def _value(kube: Kube, namespace: str, ref: SecretKey) -> str:
    """Return one value of a Secret that spec.analysis.prometheus names."""
    named_by = "spec.analysis.prometheus"
    data = await _data(kube, namespace, ref.name, named_by, NOT_ALLOWED)
    if not data.get(ref.key):
        msg = f"Secret {namespace}/{ref.name} has no key {ref.key}, which {named_by} needs"
        raise Unavailable(msg)
    return _decoded(data, ref.name, ref.key, namespace)


async def _data(
    kube: Kube, namespace: str, name: str, named_by: str, not_allowed: str
) -> dict[str, str]:
    try:
        secret = await kube.get("Secret", namespace, name)
    except Gone as problem:
        msg = f"Secret {namespace}/{name}, which {named_by} names, does not exist"
        raise Unavailable(msg) from problem
    except Invalid as problem:
        raise Unavailable(not_allowed) from problem
    data: dict[str, str] = secret.get("data") or {}
    return data


def _decoded(data: dict[str, str], name: str, key: str, namespace: str) -> str:
    """Return one value; line breaks at its end, which editors leave, are not part of it."""
    try:
        text = base64.b64decode(data[key], validate=True).decode().rstrip("\r\n")
    except (binascii.Error, UnicodeDecodeError):
        msg = f"Secret {namespace}/{name}: key {key} is no text"
        # The cause would quote the value.
        raise Unavailable(msg) from None
    if key == "username" and ":" in text:
        msg = (
            f"Secret {namespace}/{name}: key username holds a colon, which basic authentication "
            "cannot send"
        )
        raise Unavailable(msg)
    return text


def _bearer(token: str, name: str, key: str, namespace: str) -> str:
    if token.isascii() and token.isprintable() and " " not in token:
        return token
    msg = f"Secret {namespace}/{name}: key {key} is no bearer token (spaces or line breaks)"
    raise Unavailable(msg)
