"""Whatever a kubeconfig holds, it is used, or it is a sentence that says what to do."""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.errors import Invalid
from modelrelease_operator.runtime.as_user import as_user
from modelrelease_operator.runtime.kube import Kube
from tests.support.bad_input import DEEP, damaged, kept_texts, kept_values, unhurried

CERTIFICATE = base64.b64encode(b"no certificate").decode()
CONFIG: dict[str, Any] = {
    "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": "here",
    "clusters": [
        {"name": "one", "cluster": {"server": "https://127.0.0.1:1", "tls-server-name": "a"}},
        {"name": "two", "cluster": {
            "server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True,
            "certificate-authority-data": CERTIFICATE,
            "proxy-url": "http://127.0.0.1:2",
        }},
    ],
    "contexts": [
        {"name": "here", "context": {"cluster": "one", "user": "token", "namespace": "ml"}},
        {"name": "there", "context": {"cluster": "two", "user": "certificate"}},
    ],
    "users": [
        {"name": "token", "user": {"token": "t"}},
        {"name": "file", "user": {"tokenFile": "/nowhere"}},
        {"name": "password", "user": {"username": "u", "password": "p"}},
        {"name": "certificate", "user": {
            "client-certificate-data": CERTIFICATE, "client-key-data": CERTIFICATE,
        }},
    ],
}  # fmt: skip
"""Without a program that is run for a token: a damaged one could name any."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig that everything here reads."""
    path = tmp_path_factory.mktemp("kube") / "config"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield path


@contextmanager
def refused_with_a_sentence() -> Iterator[None]:
    try:
        yield
    except Invalid as problem:
        told = str(problem)
    else:
        return
    assert told.startswith("the kubeconfig cannot be used: ")
    assert "set KUBECONFIG" in told


def opened(context: str | None = None) -> str | None:
    """Return the namespace of who uses it on a desk; None where it was refused with a sentence."""

    async def used() -> str:
        async with as_user(None, context) as cluster:
            return cluster.namespace

    with refused_with_a_sentence():
        return asyncio.run(used())
    return None


def connected() -> bool:
    """Return whether an operator on a desk would use it."""

    async def used() -> None:
        kube = await Kube.connect()
        await kube.close()

    with refused_with_a_sentence():
        asyncio.run(used())
        return True
    return False


def test_the_kubeconfig_that_is_damaged_here_is_used_whole(file: Path):
    file.write_text(yaml.safe_dump(CONFIG))
    assert (opened(), connected()) == ("ml", True)


@unhurried
@given(damaged(CONFIG, values=kept_values, texts=kept_texts) | kept_values,
       st.sampled_from([None, "here", "there"]))  # fmt: skip
def test_a_damaged_kubeconfig_is_used_or_is_a_sentence(
    file: Path, document: Any, context: str | None
):
    file.write_text(yaml.safe_dump(document))
    opened(context)
    connected()


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xfe", b"a: [", DEEP.encode(), b"a: &a [*a]", b"--- 1\n--- 2\n", b"\0"]
)
def test_what_is_no_kubeconfig_is_a_sentence(file: Path, raw: bytes):
    file.write_bytes(raw)
    assert opened() is None
    assert not connected()


def test_a_kubeconfig_that_is_not_there_is_a_sentence(file: Path):
    file.unlink(missing_ok=True)
    assert opened() is None
    assert not connected()
