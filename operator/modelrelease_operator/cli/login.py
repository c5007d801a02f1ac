"""What a person's own questions to Prometheus are proved by."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from modelrelease_operator.errors import Invalid

VISIBLE = r"[!-~]+"
"""What a header can hold in one piece."""

if TYPE_CHECKING:
    from modelrelease_operator.runtime.credentials import Credentials


def add_login(parser: argparse.ArgumentParser) -> None:
    """Add what the server wants to see, and whom to believe."""
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="bearer token for Prometheus"
    )
    parser.add_argument("--user", metavar="NAME", help="basic authentication, with --password-file")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="see --user")
    parser.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="certificates, PEM, to trust (default: the system's)",
    )
    parser.add_argument(
        "--tenant",
        type=_tenant,
        metavar="NAME",
        help="whose series are meant (default: the spec's)",
    )


def credentials_of(parsed: argparse.Namespace, tenant: str | None) -> "Credentials":
    """Read from files what Prometheus is to be shown: everybody may read a command line.

    `tenant` is the spec's, where the command line names none.
    """
    from modelrelease_operator.runtime.credentials import Credentials  # noqa: PLC0415

    if bool(parsed.user) != bool(parsed.password_file):
        msg = "--user and --password-file belong together"
        raise Invalid(msg)
    return Credentials(
        token=_token(parsed.token_file),
        username=parsed.user,
        password=_text(parsed.password_file),
        ca=_text(parsed.ca_file),
        tenant=parsed.tenant or tenant,
    )


def _tenant(text: str) -> str:
    if not re.fullmatch(VISIBLE, text):
        msg = f"must be letters, digits and signs without spaces, as a header has it, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return text


def _token(file: Path | None) -> str | None:
    token = _text(file)
    if token and not re.fullmatch(VISIBLE, token):
        msg = f"--token-file {file} holds no bearer token (spaces, line breaks or other letters)"
        raise Invalid(msg)
    return token


def _text(file: Path | None) -> str | None:
    try:
        return None if file is None else file.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        msg = f"{file} cannot be read: {problem}"
        raise Invalid(msg) from problem
