"""Who signed a model: signatures of the real tool, and everything that must not pass for one."""

import base64
import hashlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelrelease_contract.runtime import (
    ENV_OPERATOR_KEYS,
    ENV_RELEASE_KEY,
    EXIT_REFUSED,
    SIGNATURE_NAME,
)
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.signature import KeyFileError, SignatureError, SignedModel, public_keys
from modelrelease_serving.verify import verify
from modelrelease_training.export import Exported
from tests.serving.support import Web, settings, train
from tests.serving.test_fetch import bring, names
from tests.support.oci_registry import oci_registry
from tests.support.signing import SigningKey, statement_of

RECORDED = Path(__file__).parent / "signatures"
"""By model_signing 1.1.1 (2026-11-30) over a folder with the files of `SIGNED`."""
SIGNED = {"manifest.json": b'{"recorded": true}\n', "model.skops": b"model\n"}
KEY, OTHER = SigningKey(), SigningKey()


def recorded(name: str) -> SignedModel:
    return SignedModel.parse((RECORDED / f"{name}.sig").read_bytes())


@pytest.fixture
def signed(artifact: Exported, tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    shutil.copytree(artifact.path, folder)
    KEY.sign(folder)
    return folder


def check(folder: Path, **wanted: Any) -> None:
    wanted = wanted or {"release_key": KEY.public}
    verify(settings(model_path=folder, model_uri="s3://models/qna/1", **wanted))


@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
def test_what_the_tool_signed_is_believed_with_its_key_alone(curve: str) -> None:
    own = public_keys((RECORDED / f"{curve}.pub").read_text())
    others = [path.read_text() for path in RECORDED.glob("*.pub") if path.stem != curve]
    assert recorded(curve).is_by_one_of(own)
    assert not recorded(curve).is_by_one_of(public_keys("".join(others)))
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in SIGNED.items()}
    assert recorded(curve).digests() == expected


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("blake3", "lists files by blake3, and only files by sha256"),
        ("shards", "lists shards by sha256, and only files by sha256"),
    ],
)
def test_other_digests_of_the_tool_are_refused_with_the_way_out(name: str, why: str) -> None:
    with pytest.raises(SignatureError, match=f"{why}.*with model_signing's defaults"):
        recorded(name).digests()


def test_a_certificate_of_the_tool_is_refused_because_only_keys_are_checked() -> None:
    with pytest.raises(SignatureError, match=r"with a certificate .* `model_signing sign key`"):
        recorded("certificate")


def test_a_signed_model_passes_with_the_key_of_the_release_and_of_the_operator(
    signed: Path,
) -> None:
    check(signed, release_key=KEY.public)
    check(signed, operator_keys=OTHER.public + KEY.public)
    check(signed, release_key=KEY.public, operator_keys=KEY.public)


def test_an_unsigned_model_is_refused_by_name(artifact: Exported) -> None:
    with pytest.raises(
        RefusedError, match=r"artifact at s3://models/qna/1 is not signed: .* no model.sig"
    ):
        check(artifact.path)


def test_another_key_is_refused_with_whose_it_is_and_which(signed: Path) -> None:
    OTHER.sign(signed)
    fingerprint = public_keys(KEY.public)[0].fingerprint[:16]
    with pytest.raises(RefusedError, match=rf"spec.model.signature.key \(sha256:{fingerprint}…\)"):
        check(signed)


def test_the_key_of_the_release_does_not_lift_what_the_operator_wants(signed: Path) -> None:
    with pytest.raises(RefusedError, match=r"the operator's chart value signatures.publicKeys"):
        check(signed, release_key=KEY.public, operator_keys=OTHER.public)
    with pytest.raises(RefusedError, match=r"spec.model.signature.key"):
        check(signed, release_key=OTHER.public, operator_keys=KEY.public)


def test_a_file_that_was_changed_is_refused_whatever_the_manifest_says(
    signed: Path, tmp_path: Path
) -> None:
    manifest = json.loads((signed / "manifest.json").read_text())
    (signed / "model.joblib").write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    manifest["files"] = [{"path": "model.joblib", "sha256": digest, "size": 5}]
    (signed / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RefusedError, match=r"model\.joblib of .* has sha256 .* changed or added"):
        check(signed)


def test_a_file_that_is_not_what_the_manifest_says_is_refused_though_both_were_signed(
    signed: Path,
) -> None:
    (signed / "model.joblib").write_bytes(b"other")
    with pytest.raises(RefusedError, match="it was changed after it was exported"):
        check(signed)


def test_the_signature_of_another_version_is_refused(signed: Path, tmp_path: Path) -> None:
    other = train(tmp_path / "other", "2", seed=8).path
    KEY.sign(other)
    shutil.copy(other / SIGNATURE_NAME, signed)
    with pytest.raises(RefusedError, match=r"model.sig says"):
        check(signed)


def test_a_file_that_the_signature_leaves_out_is_refused(signed: Path) -> None:
    statement = statement_of(signed)
    kept = [each for each in statement["predicate"]["resources"] if "joblib" not in each["name"]]
    statement["predicate"]["resources"] = kept
    whole = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in kept))
    statement["subject"][0]["digest"]["sha256"] = whole.hexdigest()
    (signed / SIGNATURE_NAME).write_bytes(KEY.bundle(statement))
    with pytest.raises(RefusedError, match=r"model.sig does not list it"):
        check(signed)


def test_a_statement_that_contradicts_itself_is_refused(signed: Path) -> None:
    statement = statement_of(signed)
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    (signed / SIGNATURE_NAME).write_bytes(KEY.bundle(statement))
    with pytest.raises(RefusedError, match="contradicts itself"):
        check(signed)


def test_a_signature_over_something_else_is_refused(signed: Path) -> None:
    raw = KEY.bundle(statement_of(signed), payload_type="text/plain")
    (signed / SIGNATURE_NAME).write_bytes(raw)
    with pytest.raises(RefusedError, match="over 'text/plain', which is no list of files"):
        check(signed)


def test_a_payload_that_was_exchanged_is_refused(signed: Path) -> None:
    other, bundle = json.loads(OTHER.bundle(statement_of(signed))), SIGNATURE_NAME
    ours = json.loads((signed / bundle).read_text())
    ours["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
    (signed / bundle).write_text(json.dumps(ours))
    with pytest.raises(RefusedError, match="was not made with the key"):
        check(signed)


def test_whatever_is_changed_in_a_signature_it_is_no_longer_by_its_key() -> None:
    chance = random.Random(7)
    (key,) = public_keys(KEY.public)
    whole = json.loads(KEY.bundle({}))["dsseEnvelope"]["signatures"][0]["sig"]
    message = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
    right = base64.b64decode(whole)
    assert key.made(right, message)
    for _ in range(300):
        wrong = bytearray(right)
        place = chance.randrange(len(wrong))
        wrong[place] ^= chance.randrange(1, 256)
        assert not key.made(bytes(wrong), message)
        assert not key.made(bytes(wrong[:place]), message)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"mediaType": "x"}'])
def test_what_is_no_signature_is_refused(raw: bytes, signed: Path) -> None:
    (signed / SIGNATURE_NAME).write_bytes(raw)
    with pytest.raises(RefusedError, match=r"model.sig of .* is no signature that model_signing"):
        check(signed)


RSA = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDSkJPGVvT7JksVtjFI0WsKmarI\n"
    "zq58LuP5sAe37mxfVluvhTUyocByuNcFi44oQ+H0PvzEkOVcrSyCV8c5+Kds6zLh\n"
    "XAjKBV7NJLNx+jvGGXx8mJpVWVcnt1PgjSJoPLlLK0uBqbF+I6ofafxUkpFzl8jJ\n"
    "VD4OQZ0pvAGTkMpdnQIDAQAB\n"
    "-----END PUBLIC KEY-----"
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nothing", "holds no public key"),
        (
            "-----BEGIN PUBLIC KEY-----s3cret-----END PUBLIC KEY-----",
            "nothing of it may be missing",
        ),
        (
            RSA,
            "of another kind than model_signing's: it must be on the curve P-256, P-384 or P-521",
        ),
        (
            "-----BEGIN EC PRIVATE KEY-----\ns3cret\n-----END EC PRIVATE KEY-----",
            "'EC PRIVATE KEY'",
        ),
    ],
)
def test_a_key_of_no_use_refuses_no_model_and_is_not_shown(
    text: str, why: str, signed: Path
) -> None:
    """The ConfigMap can be put right: the container is started again."""
    with pytest.raises(UnreachableError, match=r"signature\.key holds") as refused:
        check(signed, release_key=text)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(KeyFileError, match=why):
        public_keys(text)


def test_without_any_key_nothing_passes(signed: Path) -> None:
    with pytest.raises(UnreachableError, match="no key to check a signature with"):
        check(signed, release_key="")


def test_a_key_of_the_release_that_is_empty_is_wanted_all_the_same(
    signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the variable of a ConfigMap is whose key was emptied."""
    monkeypatch.setenv(ENV_RELEASE_KEY, "")
    monkeypatch.setenv(ENV_OPERATOR_KEYS, KEY.public)
    with pytest.raises(
        UnreachableError, match=r"spec\.model\.signature\.key holds no public key, f"
    ):
        verify(settings(model_path=signed))


def test_a_signature_comes_with_the_artifact_where_one_is_wanted(
    web: Web, signed: Path, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(signed)
    bring(web.url, tmp_path / "plain")
    assert SIGNATURE_NAME not in names(tmp_path / "plain")
    bring(web.url, tmp_path / "asked", model_sha256=artifact.digest, fetch_signature=True)
    check(tmp_path / "asked", release_key=KEY.public, model_sha256=artifact.digest)


def test_an_artifact_without_a_signature_is_fetched_and_then_refused(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    (tmp_path / SIGNATURE_NAME).write_bytes(b"of an artifact that was here before")
    bring(web.url, tmp_path, fetch_signature=True)
    with pytest.raises(RefusedError, match="is not signed"):
        check(tmp_path)


def test_a_signed_artifact_of_a_registry_passes(signed: Path, tmp_path: Path) -> None:
    with oci_registry() as registry:
        digest = registry.push_folder("team/qna", "v1", signed)
        bring(registry.uri("team/qna", digest), tmp_path / "got", fetch_signature=True)
    check(tmp_path / "got")


def test_the_process_says_in_its_termination_log_why_it_refuses(
    artifact: Exported, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.touch()
    environment = {
        "MODEL_PATH": str(artifact.path),
        "SIGNING_KEY_OF_RELEASE": KEY.public,
        "TERMINATION_LOG": str(log),
        "PYTHONPATH": ":".join(sys.path),
    }
    command = [sys.executable, "-m", "modelrelease_serving", "verify"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == EXIT_REFUSED
    assert "is not signed" in log.read_text()
