"""Signatures of models as OpenSSF's `model_signing` writes them, checked with public keys.

A signature is a bundle of Sigstore's: a DSSE envelope around an in-toto statement that lists every
file of the model with its digest. Written after model_signing 1.1 and the specifications of DSSE
and in-toto, because that library brings thirty others into the image (decision record 65).
Nothing is signed here, so nothing in this module is secret.

Nothing in a bundle is believed before the signature over it was found right.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

from ecdsa import NIST256p, NIST384p, NIST521p, VerifyingKey
from ecdsa.keys import BadSignatureError
from ecdsa.util import sigdecode_der
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

_PEM: Final = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)
_CURVES: Final = {
    NIST256p.name: hashlib.sha256,
    NIST384p.name: hashlib.sha384,
    NIST521p.name: hashlib.sha512,
}
"""Kinds of keys, each with the hash that its signatures are made over."""
_IN_TOTO: Final = "application/vnd.in-toto+json"


class KeyFileError(ValueError):
    """What should hold public keys holds none that can be used: the end of a sentence."""


class SignatureError(ValueError):
    """A signature does not speak for a model: the end of a sentence that names both."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key that a signature may be made with."""

    key: VerifyingKey

    @property
    def fingerprint(self) -> str:
        """Sha256 of the key in DER, as `openssl pkey -pubin -outform DER | sha256sum` shows it."""
        return hashlib.sha256(self.key.to_der()).hexdigest()

    def made(self, signature: bytes, message: bytes) -> bool:
        """Say whether a signature over a message was made with this key."""
        made_over = _CURVES[self.key.curve.name]
        try:
            self.key.verify(signature, message, hashfunc=made_over, sigdecode=sigdecode_der)
        except BadSignatureError:
            return False
        return True


def public_keys(text: str) -> tuple[PublicKey, ...]:
    """Return the keys of a PEM text. Raises KeyFileError where there is none, or one of no use."""
    keys = tuple(_public_key(block) for block in _PEM.findall(text))
    if not keys:
        msg = "holds no public key: it must be PEM, with a line -----BEGIN PUBLIC KEY-----"
        raise KeyFileError(msg)
    return keys


def _public_key(block: str) -> PublicKey:
    kind = block.removeprefix("-----BEGIN ").partition("-----")[0]
    another = (
        "holds a public key of another kind than model_signing's: it must be on the curve P-256, "
        "P-384 or P-521"
    )
    try:
        key = VerifyingKey.from_pem(block)
    except Exception as error:
        # The library has no one class for all that can be wrong with a key, such as RSA.
        if kind.endswith("PUBLIC KEY"):
            msg = f"{another}, and nothing of it may be missing"
        else:
            msg = f"holds {kind!r}, which is no public key: give the public half, PEM"
        raise KeyFileError(msg) from error
    if key.curve.name not in _CURVES:
        raise KeyFileError(another)
    return PublicKey(key)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


_Kind = TypeVar("_Kind", bound=_Part)


class _Signature(_Part):
    sig: Base64Bytes


class _Envelope(_Part):
    payload: Base64Bytes
    payload_type: str = Field(alias="payloadType")
    signatures: tuple[_Signature, ...] = Field(min_length=1, max_length=1)

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over: DSSE's pre-authentication encoding."""
        kind = self.payload_type.encode()
        head = b"DSSEv1 %d %b %d " % (len(kind), kind, len(self.payload))
        return head + self.payload


class _Material(_Part):
    certificate: object = None
    chain: object = Field(default=None, alias="x509CertificateChain")


class _Bundle(_Part):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    material: _Material = Field(alias="verificationMaterial")
    envelope: _Envelope = Field(alias="dsseEnvelope")


class _Digests(_Part):
    sha256: str


class _Subject(_Part):
    digest: _Digests


class _Serialization(_Part):
    method: str
    hash_type: str = ""


class _Resource(_Part):
    name: str
    digest: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})+$")]


class _Predicate(_Part):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Statement(_Part):
    kind: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicate_type: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    subject: tuple[_Subject, ...] = Field(min_length=1, max_length=1)
    predicate: _Predicate


@dataclass(frozen=True, slots=True)
class SignedModel:
    """What a bundle says, which nobody has vouched for yet."""

    envelope: _Envelope

    @classmethod
    def parse(cls, raw: bytes) -> "SignedModel":
        """Read a bundle. Raises SignatureError for one that no key alone can have made."""
        bundle = _read(_Bundle, raw)
        if bundle.material.certificate is not None or bundle.material.chain is not None:
            msg = (
                "was made with a certificate (an identity of Sigstore's, or an authority's), and "
                "only public keys are checked here: sign with `model_signing sign key`"
            )
            raise SignatureError(msg)
        return cls(bundle.envelope)

    def is_by_one_of(self, keys: tuple[PublicKey, ...]) -> bool:
        """Say whether one of the keys made the signature."""
        signature = self.envelope.signatures[0].sig
        return any(key.made(signature, self.envelope.signed) for key in keys)

    def digests(self) -> dict[str, str]:
        """Return the sha256 of each file that was signed, by path.

        To be believed only where `is_by_one_of` is true. Raises SignatureError for a statement
        of another kind.
        """
        if self.envelope.payload_type != _IN_TOTO:
            msg = f"is over {self.envelope.payload_type[:80]!r}, which is no list of files"
            raise SignatureError(msg)
        statement = _read(_Statement, self.envelope.payload)
        predicate = statement.predicate
        form = (predicate.serialization.method, predicate.serialization.hash_type)
        if form != ("files", "sha256"):
            msg = (
                f"lists {form[0][:20]} by {form[1][:20]}, and only files by sha256 are checked "
                "here: sign with model_signing's defaults"
            )
            raise SignatureError(msg)
        whole = hashlib.sha256(b"".join(bytes.fromhex(item.digest) for item in predicate.resources))
        if whole.hexdigest() != statement.subject[0].digest.sha256:
            msg = "contradicts itself: the digest of the whole is not that of its files. Sign again"
            raise SignatureError(msg)
        return {item.name: item.digest for item in predicate.resources}


def _read(kind: type[_Kind], raw: bytes) -> _Kind:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        msg = (
            f"is no signature that model_signing 1 made: {where[:200]}: {first['msg'][:200]}. "
            "Sign with `model_signing sign key`"
        )
        raise SignatureError(msg) from error
