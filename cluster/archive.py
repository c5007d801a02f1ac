"""Writes a container image of one static program without any image builder."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path


def single_program(reference: str, program: Path, target: Path) -> Path:
    """Write an archive, as `docker save` does, of an image that holds only `program`."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add(tar, program.name, program.read_bytes(), mode=0o755)
    content = layer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    config = {
        "architecture": _architecture(program),
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65532:65532", "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "modelrelease"}],
    }
    text = json.dumps(config).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [reference], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(target, mode="w") as tar:
        add(tar, name, text)
        add(tar, f"{digest}/layer.tar", content)
        add(tar, "manifest.json", json.dumps(manifest).encode())
    return target


def add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    """Add a file that exists only in memory."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _architecture(program: Path) -> str:
    """Read from an ELF file's header which processor it is for."""
    machine = int.from_bytes(program.read_bytes()[18:20], "little")
    return {0x3E: "amd64", 0xB7: "arm64"}.get(machine, "amd64")
