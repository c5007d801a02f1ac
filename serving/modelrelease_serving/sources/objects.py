"""Artifacts in the object stores of the clouds, and in those that speak as they do."""

import os
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelrelease_serving.errors import UnreachableError
from modelrelease_serving.settings import Settings
from modelrelease_serving.sources.source import (
    CHECK_CREDENTIALS,
    CHUNK_BYTES,
    TIMEOUT_SECONDS,
    MissingError,
    Reading,
    TransientError,
    path_in,
    unknown_place,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore


@dataclass(frozen=True, slots=True)
class ObjectSource:
    """Objects below a prefix of a bucket or container, with credentials from the environment."""

    store: "ObjectStore"
    base: str

    def read(self, path: str, offset: int = 0) -> Reading:
        """Ask for one object."""
        import obstore  # noqa: PLC0415 - only these sources need it

        uri = self.base + path
        try:
            # Asking for what lies behind the end is an error that tells nothing.
            if offset and obstore.head(self.store, path)["size"] <= offset:
                offset = 0
            result = obstore.get(
                self.store, path, options={"range": {"offset": offset}} if offset else None
            )
        except Exception as error:
            raise _judge_object(uri, error) from error
        return Reading(result.range[0], _stream(uri, result), result.meta["size"])


def open_objects(uri: str, _: Settings) -> ObjectSource:
    """Return the objects below a prefix of a bucket or container."""
    path_in(uri)
    if not urlsplit(uri).hostname:
        raise unknown_place(uri)
    return _connect(uri.rstrip("/") + "/")


def _connect(uri: str) -> ObjectSource:
    from obstore.store import from_url  # noqa: PLC0415 - only these sources need it

    _require_one_line()
    try:
        store = from_url(
            uri,
            # For each read, not for the whole object. Trying again is our own, so that it is seen
            # in the log.
            client_options={
                "connect_timeout": f"{TIMEOUT_SECONDS:.0f}s",
                "read_timeout": f"{TIMEOUT_SECONDS:.0f}s",
                "timeout": "1d",
                # Whoever writes an http:// endpoint wants it; the clouds' own are https://.
                "allow_http": True,
            },
            retry_config={"max_retries": 0},
        )
    except Exception as error:
        msg = f"{uri} cannot be opened: {_first_line(error)}; {CHECK_CREDENTIALS}"
        raise UnreachableError(msg) from error
    return ObjectSource(store, uri)


def _require_one_line() -> None:
    """Raise UnreachableError for a credential that no header can have: obstore panics of one.

    It reads them from the environment itself. Google's may be whole files, of many lines.
    """
    for name, value in os.environ.items():
        if name.startswith(("AWS_", "AZURE_")) and not value.isprintable():
            msg = (
                f"{name} holds a line break or another sign that no header can have: correct it "
                "where the fetch container has it from, such as a Secret made of a file with a "
                "line break at its end"
            )
            raise UnreachableError(msg)


def _stream(uri: str, result: object) -> Generator[bytes]:
    try:
        for chunk in result.stream(min_chunk_size=CHUNK_BYTES):  # type: ignore[attr-defined]
            yield bytes(chunk)
    except GeneratorExit:
        raise
    except Exception as error:
        raise _judge_object(uri, error) from error


def _judge_object(uri: str, error: Exception) -> Exception:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError  # noqa: PLC0415

    if isinstance(error, FileNotFoundError):
        return MissingError(
            f"{uri} does not exist: check MODEL_URI, and that the artifact is still there"
        )
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return UnreachableError(f"{uri} may not be read: {CHECK_CREDENTIALS}; {_first_line(error)}")
    return TransientError(f"{uri} cannot be read: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    """The first line of what obstore says; the others are Rust's view of the same."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
