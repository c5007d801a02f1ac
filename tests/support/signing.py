"""Signs folders as OpenSSF's `model_signing sign key` does, of which recorded signatures are in
tests/serving/signatures: here with keys of the moment, and over what a test wants.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from modelrelease_contract.runtime import SIGNATURE_NAME


@dataclass
class SigningKey:
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def public(self) -> str:
        form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return self.key.public_key().public_bytes(*form).decode()

    def sign(self, folder: Path) -> None:
        """Put a signature beside the files of a folder."""
        (folder / SIGNATURE_NAME).write_bytes(self.bundle(statement_of(folder)))

    def bundle(
        self, statement: dict[str, Any], *, payload_type: str = "application/vnd.in-toto+json"
    ) -> bytes:
        payload = json.dumps(statement).encode()
        head = f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode()
        signature = self.key.sign(head + payload, ec.ECDSA(hashes.SHA256()))
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        }
        bundle = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
            "dsseEnvelope": envelope,
        }
        return json.dumps(bundle).encode()


def statement_of(folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes())
        for path in files
        if path.name != SIGNATURE_NAME
    }
    whole = hashlib.sha256(b"".join(digest.digest() for digest in digests.values()))
    resources = [
        {"name": name, "algorithm": "sha256", "digest": digest.hexdigest()}
        for name, digest in digests.items()
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": folder.name, "digest": {"sha256": whole.hexdigest()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": resources,
        },
    }
