"""Questions to Prometheus: the newest raw counters of a release's two revisions, or of their bins.

Raw series, never rate() or increase(): those extrapolate, and lose the first error of a new pod.
"""

import ast
import asyncio
import json
import math
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests.auth import AuthBase
from typing_extensions import override
from urllib3.util import Retry

from modelrelease_contract import metrics as words
from modelrelease_operator.core.drift_windows import PREDICTIONS, BinSample
from modelrelease_operator.core.queries import KIND
from modelrelease_operator.core.state import Counter, Metrics, MetricsUnavailable
from modelrelease_operator.runtime.credentials import Credentials

PREDICTION_METRICS = (words.PREDICTION_BIN_TOTAL, words.PREDICTION_BINS_INFO)
PROBE_BUCKETS = f"{words.PROBE_DURATION_SECONDS}_bucket"
PROBE_METRICS = (words.PROBE_ANSWERS_TOTAL, PROBE_BUCKETS)
CODES = {words.PREDICTIONS_TOTAL: words.CODE, words.PROBE_ANSWERS_TOTAL: words.RESULT}
"""Where a counter says what came of its requests."""
TIMED_METRICS = (words.PREDICTIONS_TOTAL, words.PROBE_ANSWERS_TOTAL)
"""Series by which it is told when a target was scraped and when its process began: each has one of them."""
PROCESS_START = "process_start_time_seconds"
SAMPLE_TIME = "sample_time"
"""Value of the label KIND on the rows that tell when a target was scraped."""
OWN_LABELS = (words.RELEASE, words.REVISION, words.MODEL_VERSION, words.CODE, words.RESULT)
"""Labels that a counter brings by itself; the others are its target's, the same on all of its series."""
NOT_OF_TARGET = frozenset((*OWN_LABELS, words.BIN, words.LAYOUT, "le", "__name__", KIND))
Row = TypeVar("Row")
_Target = frozenset[tuple[str, str]]
Bins = tuple[BinSample, ...] | MetricsUnavailable


class Session(requests.Session):
    """Believes of a server what the credentials say."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._ca: Any = None
        self.verify = self._verified_by(credentials)

    @override
    def close(self) -> None:
        """Close what is open."""
        super().close()
        if self._ca is not None:
            self._ca.close()

    def _verified_by(self, credentials: Credentials) -> bool | str:
        if not credentials.verify:
            # Asked for in so many words; a warning with every request would only fill the log.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            return False
        if credentials.ca is None:
            return True
        self._ca = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115 - lives as long as the session
        self._ca.write(credentials.ca.encode())
        self._ca.flush()
        return str(self._ca.name)


class MetricSource:
    """A Prometheus server, with one session; `trouble` stands for one that cannot even be asked."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        credentials: Credentials | None = None,
        trouble: str | None = None,
    ) -> None:
        self._url, self._trouble = url, trouble
        self._credentials = credentials or Credentials()
        self._session = Session(self._credentials)
        # No retries inside a look: the next look is the retry, and a look must not outlast its interval.
        self._client = PrometheusConnect(
            url=url.rstrip("/"), timeout=timeout_seconds, retry=Retry(total=0, raise_on_status=False),
            session=self._session, auth=auth_of(self._credentials),
        )  # fmt: skip

    def close(self) -> None:
        """Close the session; what it still waits for is answered first."""
        self._client.close()
        self._session.close()

    async def read(
        self,
        *,
        namespace: str,
        release: str,
        revisions: Iterable[str],
        predictions: bool = False,
        probes: bool = False,
    ) -> Metrics:
        """Return every counter of these revisions, or why there is none to be had.

        Bins of predictions only where a gate asks for them: they are a fifth more series.
        """
        names = counter_names(predictions=predictions, probes=probes)
        query = counters_query(names, namespace=namespace, labels=_labels(namespace, release, revisions))
        return await self._ask(query, counters_of)

    async def read_bins(self, *, namespace: str, release: str, revisions: Iterable[str]) -> Bins:
        """Return every count of a bin of these revisions, and their baselines, or why there is none."""
        return await self._ask(_bins_query(namespace, release, revisions), _bin_samples)

    async def _ask(
        self, query: str, read: Callable[[list[dict[str, Any]]], tuple[Row, ...]]
    ) -> tuple[Row, ...] | MetricsUnavailable:
        rows = await self.ask(query)
        if isinstance(rows, MetricsUnavailable):
            return rows
        try:
            return read(rows)
        except (LookupError, ValueError, TypeError) as problem:
            return self._unavailable(f"answered nonsense: {problem!r}")

    async def ask(self, query: str) -> Any:
        """Return the result of a query as Prometheus gave it, or MetricsUnavailable."""
        if self._trouble:
            return MetricsUnavailable(message=self._trouble)
        try:
            return await asyncio.to_thread(self._client.custom_query, query)
        except PrometheusApiClientException as problem:
            return self._unavailable(f"answered with an error: {said(str(problem))}")
        except requests.JSONDecodeError:
            return self._unavailable("answered with no JSON")
        except requests.RequestException as problem:
            return self._unavailable(f"does not answer ({type(problem).__name__})")
        except (LookupError, ValueError, TypeError) as problem:
            return self._unavailable(f"answered nonsense: {problem!r}")

    def _unavailable(self, what: str) -> MetricsUnavailable:
        """Return the sentence, without what a server may have repeated of the credentials."""
        for secret in self._credentials.secrets:
            what = what.replace(secret, "…")
        return MetricsUnavailable(message=f"Prometheus at {self._url} {what}")


class _Bearer(AuthBase):
    """Sets the header at the last moment: a .netrc of the machine cannot replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    @override
    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = f"Bearer {self._token}"
        return r


def auth_of(credentials: Credentials) -> AuthBase | tuple[bytes, bytes] | None:
    """Return how requests are to prove themselves; None where nothing is asked."""
    if credentials.token:
        return _Bearer(credentials.token)
    if credentials.username and credentials.password:
        return credentials.username.encode(), credentials.password.encode()
    return None


def said(problem: str) -> str:
    """Return Prometheus' own sentence where the client's error quotes one."""
    quoted = re.fullmatch(r"HTTP Status Code (\d+) \((b['\"].*['\"])\)", problem, re.DOTALL)
    if not quoted:
        return problem[:500]
    code, body = int(quoted[1]), ast.literal_eval(quoted[2])
    try:
        text = str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        text = body.decode(errors="replace")
    refused = "it cannot run the query, " if code == 400 else ""
    return f"{refused}HTTP status {code}: {text[:500]}"


def counter_names(*, predictions: bool, probes: bool = False) -> tuple[str, ...]:
    """Return the metrics that a decision reads."""
    more = (*(PREDICTION_METRICS if predictions else ()), *(PROBE_METRICS if probes else ()))
    return (words.PREDICTIONS_TOTAL, f"{words.PREDICTION_DURATION_SECONDS}_bucket", *more)


def counters_query(names: Sequence[str], *, namespace: str, labels: str) -> str:
    """Return the question for counters, when each target was scraped, and when its process began.

    One question, so that one server answers all of it from one state: of two replicas that are asked one
    after the other, each would tell the times of its own scrapes. `timestamp()` gives a sample's own time
    only around a plain selector; around anything else it gives the time of the question.
    """
    told = _named([name for name in TIMED_METRICS if name in names], labels)
    targets = f"{words.NAMESPACE}, {words.POD}, instance, job"
    times = f"max without ({', '.join(OWN_LABELS)}) (timestamp({told}))"
    return "\nor\n".join(
        (
            _named(names, labels),
            f'({PROCESS_START}{{{words.NAMESPACE}="{namespace}"}} and on ({targets}) {told})',
            f'label_replace({times}, "{KIND}", "{SAMPLE_TIME}", "", "")',
        )
    )


def _named(names: Iterable[str], labels: str) -> str:
    return f'{{__name__=~"{"|".join(names)}",{labels}}}'


def _bins_query(namespace: str, release: str, revisions: Iterable[str]) -> str:
    """Every pod says the same baseline, so one copy of it is enough; the counts are wanted from each."""
    labels = _labels(namespace, release, revisions)
    counts = f'{{__name__=~"{words.FEATURE_BIN_TOTAL}|{words.PREDICTION_BIN_TOTAL}",{labels}}}'
    baselines = f'{{__name__=~"{words.FEATURE_BASELINE_ROWS}|{words.PREDICTION_BASELINE_ROWS}",{labels}}}'
    by = f"__name__, {words.REVISION}, {words.FEATURE}, {words.BIN}"
    return f"{counts} or max by ({by}) ({baselines})"


def _labels(namespace: str, release: str, revisions: Iterable[str]) -> str:
    which = "|".join(sorted(revisions))
    return f'{words.NAMESPACE}="{namespace}",{words.RELEASE}="{release}",{words.REVISION}=~"{which}"'


def counters_of(rows: Iterable[dict[str, Any]]) -> tuple[Counter, ...]:
    """Return the counters of an answer, each with the times that the answer tells of its target.

    Raises LookupError or ValueError for what is none of the predictor's.
    """
    counted: list[tuple[dict[str, Any], _Target]] = []
    times: dict[_Target, float] = {}
    starts: dict[_Target, float] = {}
    for row in rows:
        labels = row["metric"]
        target = frozenset(item for item in labels.items() if item[0] not in NOT_OF_TARGET)
        if labels.get(KIND) == SAMPLE_TIME:
            times[target] = _moment(row)
        elif labels["__name__"] == PROCESS_START:
            starts[target] = _moment(row)
        else:
            counted.append((row, target))
    names = {target: _short_name(target) for _, target in counted}
    return tuple(
        _counter(row, source=names[target], at=times.get(target), started=starts.get(target))
        for row, target in counted
    )


def _moment(row: dict[str, Any]) -> float:
    moment = float(row["value"][1])
    if not math.isfinite(moment):
        msg = f"{moment} is no time"
        raise ValueError(msg)
    return moment


def _short_name(target: _Target) -> str:
    """Return what tells a target from others of its pod, in eight characters; nothing where nothing does."""
    told = sorted(item for item in target if item[0] not in (words.NAMESPACE, words.POD))
    return f"{zlib.crc32(repr(told).encode()):08x}" if told else ""


def _counter(row: dict[str, Any], *, source: str, at: float | None, started: float | None) -> Counter:
    labels = row["metric"]
    name = labels["__name__"]
    return Counter(
        revision=labels[words.REVISION],
        pod=labels.get(words.POD) or labels["instance"],
        code=labels[CODES[name]] if name in CODES else None,
        bound=labels["le"] if name.endswith("_bucket") else None,
        bin=labels[words.BIN] if name == words.PREDICTION_BIN_TOTAL else None,
        layout=labels[words.LAYOUT] if name == words.PREDICTION_BINS_INFO else None,
        probe=name in PROBE_METRICS,
        source=source,
        at=at,
        started=started,
        value=float(row["value"][1]),
    )


def _bin_samples(rows: Iterable[dict[str, Any]]) -> tuple[BinSample, ...]:
    return tuple(_bin_sample(row) for row in rows)


def _bin_sample(row: dict[str, Any]) -> BinSample:
    labels = row["metric"]
    counted = labels["__name__"] in (words.FEATURE_BIN_TOTAL, words.PREDICTION_BIN_TOTAL)
    of_feature = labels["__name__"] in (words.FEATURE_BIN_TOTAL, words.FEATURE_BASELINE_ROWS)
    return BinSample(
        revision=labels[words.REVISION],
        pod=(labels.get(words.POD) or labels["instance"]) if counted else None,
        feature=labels[words.FEATURE] if of_feature else PREDICTIONS,
        bin=labels[words.BIN],
        value=float(row["value"][1]),
    )
