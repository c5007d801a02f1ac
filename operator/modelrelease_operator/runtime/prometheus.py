"""Questions to Prometheus: the newest raw counters of a release's two revisions, or of their bins.

Raw series, never rate() or increase(): those extrapolate, and lose the first error of a new pod.
"""

import ast
import asyncio
import json
import re
import tempfile
from collections.abc import Callable, Iterable
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
from modelrelease_operator.core.state import Counter, Metrics, MetricsUnavailable
from modelrelease_operator.runtime.credentials import Credentials

PREDICTION_METRICS = (words.PREDICTION_BIN_TOTAL, words.PREDICTION_BINS_INFO)
PROBE_BUCKETS = f"{words.PROBE_DURATION_SECONDS}_bucket"
PROBE_METRICS = (words.PROBE_ANSWERS_TOTAL, PROBE_BUCKETS)
CODES = {words.PREDICTIONS_TOTAL: words.CODE, words.PROBE_ANSWERS_TOTAL: words.RESULT}
"""Where a counter says what came of its requests."""
Row = TypeVar("Row")
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
        query = _query(namespace, release, revisions, counter_names(predictions=predictions, probes=probes))
        return await self._ask(query, counter_of)

    async def read_bins(self, *, namespace: str, release: str, revisions: Iterable[str]) -> Bins:
        """Return every count of a bin of these revisions, and their baselines, or why there is none."""
        return await self._ask(_bins_query(namespace, release, revisions), _bin_sample)

    async def _ask(
        self, query: str, read: Callable[[dict[str, Any]], Row]
    ) -> tuple[Row, ...] | MetricsUnavailable:
        rows = await self.ask(query)
        if isinstance(rows, MetricsUnavailable):
            return rows
        try:
            return tuple(read(row) for row in rows)
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


def _query(namespace: str, release: str, revisions: Iterable[str], names: Iterable[str]) -> str:
    return f'{{__name__=~"{"|".join(names)}",{_labels(namespace, release, revisions)}}}'


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


def counter_of(row: dict[str, Any]) -> Counter:
    """Return the counter of a row; raise LookupError or ValueError for what is none of the predictor's."""
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
        value=float(row["value"][1]),
    )


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
