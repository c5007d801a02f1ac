"""Where artifacts come from: web server, registry, object store, claim, folder; one module each.

A source yields bytes, from an offset on where it can, and says of each failure whether another try
can help. It checks no digest and writes nothing.
"""

from urllib.parse import urlsplit

from modelrelease_contract import schemes
from modelrelease_serving.settings import Settings
from modelrelease_serving.sources.folders import open_claim, open_folder
from modelrelease_serving.sources.objects import open_objects
from modelrelease_serving.sources.oci import open_oci
from modelrelease_serving.sources.source import (
    TIMEOUT_SECONDS,
    MissingError,
    Opener,
    Reading,
    Source,
    TransientError,
    read_small,
    unknown_place,
)
from modelrelease_serving.sources.web import open_web

__all__ = [
    "OPENERS",
    "TIMEOUT_SECONDS",
    "MissingError",
    "Opener",
    "Reading",
    "Source",
    "TransientError",
    "open_source",
    "read_small",
]

OPENERS: dict[str, Opener] = {
    schemes.WEB: open_web,
    schemes.OBJECT_STORE: open_objects,
    schemes.CLAIM: open_claim,
    schemes.FOLDER: open_folder,
    schemes.OCI: open_oci,
}
"""What opens a place, by `Scheme.fetched_by`."""


def open_source(settings: Settings) -> Source:
    """Return the source that MODEL_URI names. Raises RefusedError for one it cannot read."""
    uri = settings.model_uri or ""
    scheme = schemes.named(urlsplit(uri).scheme)
    if scheme is None or scheme.fetched_by is None:
        raise unknown_place(uri)
    return OPENERS[scheme.fetched_by](uri, settings)
