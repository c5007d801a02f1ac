"""Certificates that are good for this machine alone."""

import subprocess
from pathlib import Path


def own_certificate(folder: Path) -> str:
    """Write `tls.key` and a `tls.crt` for localhost that it signs itself; return the latter."""
    made = (
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"),
    )  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    return (folder / "tls.crt").read_text()
