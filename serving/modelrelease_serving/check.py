"""Loads an artifact as a pod would and answers requests with it, without a server.

So whoever exports a model learns at once what a pod would say of it.
"""

import json
import sys
from collections.abc import Iterable
from typing import BinaryIO

from modelrelease_serving.errors import BadRequestError, ModelFailedError, RefusedError
from modelrelease_serving.estimator import Answer
from modelrelease_serving.model import Model
from modelrelease_serving.rows import Decoder
from modelrelease_serving.settings import Settings


def check(settings: Settings, bodies: Iterable[bytes]) -> dict[str, object]:
    """Return what the model in MODEL_PATH answers to the bodies of requests to `/predict`.

    It repeats the artifact's examples first, as before it is ready in a pod. Raises RefusedError
    for an artifact that a pod would refuse, and for a body that is not answered.
    """
    model = Model.open(
        settings.model_path,
        version=settings.model_version,
        sha256=settings.model_sha256,
        rules=settings.rules,
    )
    model.load(fast=settings.compile_model)
    decoder = Decoder(model.manifest.features)
    answers: list[Answer] = []
    for number, body in enumerate(bodies, start=1):
        try:
            answers += model.predict(decoder.decode(body).rows)
        except (BadRequestError, ModelFailedError) as error:
            msg = f"request {number} is not answered: {error}"
            raise RefusedError(msg) from error
    return {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "sha256": model.digest,
        "examples": len(model.manifest.examples.rows),
        "answers_from": model.estimator.form,
        "answers": answers,
    }


def run(settings: Settings, requests: BinaryIO) -> None:
    """Write, as JSON, what `check` says of the requests: one body in each line."""
    bodies = [] if requests.isatty() else [line for line in requests if line.strip()]
    sys.stdout.write(json.dumps(check(settings, bodies)) + "\n")
