"""Shadow comparison: what predictors of two revisions say to each other, and what they count.

A canary that is in the dark is asked copies of the requests that stable answers. Stable's predictor
asks the canary's Service what copies it wants (`ShadowWish`), sends a share of what it answered,
compares the two answers, and counts pairs. Nobody else sees a request or an answer.

Servers that are not ours do neither. A prober asks both the example rows of the artifacts, each as
its `RequestForm` says, and counts pairs of the same kinds in stable's name.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

SHADOW_PATH: Final = "/shadow"
"""GET: the `ShadowWish` of the predictor that is asked."""
SHADOW_PREDICT_PATH: Final = "/shadow/predict"
SHADOW_INFER_PATH: Final = "/shadow/infer"
SHADOW_INVOCATIONS_PATH: Final = "/shadow/invocations"
"""POST: answer as `/predict` and as `/v2/models/…/infer` do, and are counted apart."""

ENV_SHADOW: Final = "MODELRELEASE_SHADOW"
"""`ShadowSettings` in JSON, for the pods of a canary that is compared in the shadow first."""

ENV_STABLE_FORM: Final = "SHADOW_STABLE_FORM"
ENV_CANARY_FORM: Final = "SHADOW_CANARY_FORM"
"""`RequestForm` in JSON: how a prober asks each arm."""

SECONDS_HEADER: Final = "X-Shadow-Seconds"
"""Of an answer to a copy: how long the predictor worked on it. Left out where it worked on another
request meanwhile: then the time says nothing of the model."""


class ShadowSettings(BaseModel):
    """Which copies a canary wants, and when one arm counts as slower."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    share: float = Field(ge=0, le=1)
    """Share of the answered requests that is copied."""
    per_second: float = Field(gt=0, le=1000)
    """Most copies a second of one of stable's pods."""
    noise_share: float = Field(ge=0, le=1)
    """Share of the copies that stable is asked again, too: it may differ from itself."""
    tolerance: float | None = Field(default=None, ge=0)
    """Up to which two numbers are the same answer: of a number beyond 1, a share of it. None: that
    of stable's manifest, which is for one model that repeats itself."""
    warm_up_seconds: float = Field(default=0, ge=0)
    """For so long a canary that is ready wants no copies yet: new pods are slow."""
    slower_ratio: float = Field(ge=1)
    slower_seconds: float = Field(ge=0)
    """One arm is slower on a pair when it takes more than so many times and so many seconds more
    than the other."""


class ShadowWish(BaseModel):
    """What a predictor answers to GET `SHADOW_PATH`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    revision: str
    """Of the predictor that answers: nobody copies requests to its own revision."""
    settings: ShadowSettings | None = None
    """None: it wants no copies now."""


ROW: Final = "$(ROW)"
"""In the body of a `RequestForm`: the row's values, as a JSON list."""
COLUMNS: Final = "$(COLUMNS)"
"""The same as a JSON object, by the features' names."""
COUNT: Final = "$(COUNT)"
"""How many values the row has."""
_PLACE: Final = re.compile("|".join(re.escape(place) for place in (ROW, COLUMNS, COUNT)))


class RequestForm(BaseModel):
    """How an example row is asked of a server, and what of the answer is compared."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    body: str
    """JSON, with places for the row."""
    answer: tuple[str, ...] = ()
    """Members of the answer that are compared, whatever else is in it; empty: all of it."""

    def body_for(self, row: Mapping[str, float | str | None]) -> bytes:
        """Return the body that asks one row, by the features' names in their order."""
        values: dict[str, Sequence[object] | Mapping[str, object] | int] = {
            ROW: list(row.values()),
            COLUMNS: dict(row),
            COUNT: len(row),
        }
        # In one go: a text of the row may look like a place.
        return _PLACE.sub(lambda place: json.dumps(values[place[0]]), self.body).encode()


SHADOW_PAIRS_TOTAL: Final = "shadow_pairs_total"
"""Counter of stable's predictor, or of a prober in its name: labels RELEASE, REVISION (stable's),
CANARY (revision), PROCESS,
RESULT.
"""

SHADOW_PREDICTIONS_TOTAL: Final = "shadow_predictions_total"
"""Counter of copies that a predictor answered, which no other count holds: labels as
PREDICTIONS_TOTAL.
"""

CANARY: Final = "canary"
PROCESS: Final = "process"
"""Tells one run of a container from the next, so that every series only grows: of two Prometheus
servers the one that shows more is the one that knows more.
"""

SAME: Final = "same"
"""Value of RESULT for a pair of answers that are the same up to the tolerance of stable's
manifest.
"""
DIFFERENT: Final = "different"
CANARY_FAILED: Final = "canary_failed"
"""Stable answered, and the canary with 4xx or 5xx other than 503, much too late, or not to the
end.
"""
STABLE_FAILED: Final = "stable_failed"
"""The canary answered what stable could not."""
BOTH_FAILED: Final = "both_failed"
NOISE_SAME: Final = "noise_same"
"""Stable, asked again, repeated itself."""
NOISE_DIFFERENT: Final = "noise_different"
CANARY_SLOWER: Final = "canary_slower"
"""Of the copies that both were asked, each working on nothing else."""
STABLE_SLOWER: Final = "stable_slower"
ALIKE: Final = "alike"
DROPPED: Final = "dropped"
"""A copy that was not sent because others waited: no pair."""
BUSY: Final = "busy"
"""A copy that the canary did not take (503): no pair."""
LATE: Final = "late"
"""A copy that was not answered in time, of a request that stable was slow on, too: no pair."""
UNREACHABLE: Final = "unreachable"
"""A copy for which there was no connection: no pair."""
REFUSED: Final = "refused"
"""An example that stable did not answer when a prober began: no pair. It says nothing of either."""

SHADOW_RESULTS: Final = (
    SAME, DIFFERENT, CANARY_FAILED, STABLE_FAILED, BOTH_FAILED, NOISE_SAME, NOISE_DIFFERENT,
    CANARY_SLOWER, STABLE_SLOWER, ALIKE, DROPPED, BUSY, LATE, UNREACHABLE,
    REFUSED,
)  # fmt: skip
"""Every value of RESULT: every series is there from the first copy on. Status keeps counts in this
order, so a new one is put at the end."""


def canary_service(release: str) -> str:
    """Return the name of the Service that leads to a release's canary, and to nobody without."""
    return f"{release}-canary"


def stable_service(release: str) -> str:
    """Return the name of the Service that leads to a release's stable revision."""
    return f"{release}-stable"
