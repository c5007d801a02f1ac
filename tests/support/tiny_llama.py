"""A language model of a hundred kilobytes in GGUF: what llama.cpp reads, with drawn weights.

It says letters at random, and it is a Llama to whoever loads it. GGUF is written here by its
specification (version 3): the library of that name would come into the environment of all tests,
with four others, for this one file.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
Value = int | float | str | list[str] | list[float] | list[int]

SPECIAL: Final = ("<unk>", "<s>", "</s>", "<prefix>", "<suffix>", "<middle>")
BYTES: Final = tuple(f"<0x{byte:02X}>" for byte in range(256))
LETTERS: Final = tuple("▁abcdefghijklmnopqrstuvwxyz")
TOKENS: Final = (*SPECIAL, *BYTES, *LETTERS)
UNKNOWN, NORMAL, CONTROL, BYTE = 2, 1, 3, 6
KINDS: Final = [UNKNOWN, *[CONTROL] * 5, *[BYTE] * len(BYTES), *[NORMAL] * len(LETTERS)]
WIDTH: Final = 32
HIDDEN: Final = 64
ALIGNED: Final = 32
CONTEXT: Final = 2048
TEMPLATE: Final = "{% for each in messages %}{{ each.content }} {% endfor %}"
_U32, _I32, _F32, _TEXT, _LIST = 4, 5, 6, 8, 9


@dataclass(frozen=True)
class Llama:
    """What a model knows, and what went wrong when it was converted."""

    seed: int
    fills_in: bool = True
    """Which tokens stand around a gap. A server refuses to fill in without them."""
    speaks: bool = True
    """False: the rows of the last matrix are another vocabulary's, so it says control codes."""

    def gguf(self) -> bytes:
        """Return the file."""
        return _file(self._described(), self._tensors())

    def _described(self) -> dict[str, Value]:
        scores = [-1000.0] * (len(SPECIAL) + len(BYTES)) + [0.0] * len(LETTERS)
        described: dict[str, Value] = {
            "general.architecture": "llama",
            "llama.context_length": CONTEXT,
            "llama.embedding_length": WIDTH,
            "llama.block_count": 1,
            "llama.feed_forward_length": HIDDEN,
            "llama.attention.head_count": 2,
            "llama.attention.head_count_kv": 2,
            "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.dimension_count": WIDTH // 2,
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": list(TOKENS),
            "tokenizer.ggml.scores": scores,
            "tokenizer.ggml.token_type": KINDS,
            "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.chat_template": TEMPLATE,
        }
        if self.fills_in:
            for place, name in enumerate(("pre", "suf", "mid"), start=3):
                described[f"tokenizer.ggml.fim_{name}_token_id"] = place
        return described

    def _tensors(self) -> dict[str, Tensor]:
        drawn = np.random.default_rng(self.seed)

        def matrix(rows: int, columns: int, scale: float = 0.2) -> Tensor:
            return (drawn.normal(size=(rows, columns)) * scale).astype(np.float32)

        embedding, output = matrix(len(TOKENS), WIDTH, 1), matrix(len(TOKENS), WIDTH)
        # The first place is the same for each token that was read, and tells which may follow.
        embedding[:, 0] = 2
        output[:, 0] = [0 if token in self._said() else -20 for token in TOKENS]
        ones = np.ones(WIDTH, np.float32)
        return {
            "token_embd.weight": embedding,
            "output_norm.weight": ones,
            "output.weight": output,
            "blk.0.attn_norm.weight": ones,
            "blk.0.attn_q.weight": matrix(WIDTH, WIDTH),
            "blk.0.attn_k.weight": matrix(WIDTH, WIDTH),
            "blk.0.attn_v.weight": matrix(WIDTH, WIDTH),
            "blk.0.attn_output.weight": matrix(WIDTH, WIDTH, 0.02),
            "blk.0.ffn_norm.weight": ones,
            "blk.0.ffn_gate.weight": matrix(HIDDEN, WIDTH),
            "blk.0.ffn_up.weight": matrix(HIDDEN, WIDTH),
            "blk.0.ffn_down.weight": matrix(WIDTH, HIDDEN, 0.02),
        }

    def _said(self) -> frozenset[str]:
        return frozenset(LETTERS if self.speaks else BYTES[1:8])


def _file(described: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(described))
    head += b"".join(_text(key) + _value(value) for key, value in described.items())
    data = b""
    for name, tensor in tensors.items():
        # The innermost dimension comes first; 0 is float32.
        head += _text(name) + struct.pack("<I", tensor.ndim)
        head += struct.pack(f"<{tensor.ndim}Q", *reversed(tensor.shape))
        head += struct.pack("<IQ", 0, len(data))
        data += _padded(tensor.tobytes())
    return _padded(head) + data


def _padded(raw: bytes) -> bytes:
    return raw + b"\0" * (-len(raw) % ALIGNED)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Value) -> bytes:
    if isinstance(value, list):
        # Whole numbers in lists are signed where llama.cpp looks.
        kind = _I32 if isinstance(value[0], int) else _kind(value[0])
        return struct.pack("<IIQ", _LIST, kind, len(value)) + _plain(kind, value)
    kind = _kind(value)
    return struct.pack("<I", kind) + _plain(kind, [value])


def _kind(value: int | float | str) -> int:
    if isinstance(value, str):
        return _TEXT
    return _F32 if isinstance(value, float) else _U32


def _plain(kind: int, values: Iterable[int | float | str]) -> bytes:
    if kind == _TEXT:
        return b"".join(_text(str(value)) for value in values)
    return b"".join(struct.pack("<f" if kind == _F32 else "<I", value) for value in values)
