"""What Prometheus remembers of a release: its raw counters at every look of a span of time."""

import ast
import asyncio
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests.auth import AuthBase
from typing_extensions import override
from urllib3.util import Retry

from modelrelease_contract import metrics as words
from modelrelease_operator.api.spec import Gate, ReleaseSpec
from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.answers import Answer, Answers, NoAnswer
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.queries import Place, answer_of, query_of, shown
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.series import counter_names, counters_of, counters_query

MOST_POINTS = 10_000
"""Prometheus refuses to answer more than 11,000 points for each series at once."""
MOST_LOOKS = 100_000
"""More do not fit into memory beside their series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Every counter at one moment."""

    at: datetime
    counters: tuple[Counter, ...]
    answers: Answers = field(default_factory=dict)
    """What the gates' own queries gave at that moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What was recorded of one release, all revisions."""

    looks: tuple[Look, ...]
    versions: dict[str, str]
    """By revision, in the order of appearance: the model version that its pods told."""

    def requests_at(self, revision: str, look: int) -> int:
        """Return what the counters of a revision had reached at a look."""
        return int(sum(it.value for it in self.looks[look].counters if it.revision == revision and it.code))

    def first(self, revision: str) -> int | None:
        """Return the first look that shows a revision; None when no look does."""
        return next((index for index, look in enumerate(self.looks) if _shows(look, revision)), None)

    def until_last_of(self, revision: str) -> "Recording":
        """Return the recording without what comes after a revision was last seen."""
        last = max((index for index, look in enumerate(self.looks) if _shows(look, revision)), default=-1)
        return replace(self, looks=self.looks[: last + 1])


def _shows(look: Look, revision: str) -> bool:
    return any(counter.revision == revision for counter in look.counters)


class _Refused(Unavailable):
    """The server is there and refuses a query."""


class History:
    """A Prometheus server that is asked for the past."""

    def __init__(
        self, url: str, *, credentials: Credentials | None = None, timeout_seconds: float = 60.0
    ) -> None:
        self._url = url
        shown = credentials or Credentials()
        # A person waits: they are told at once, and try again by themselves.
        self._client = PrometheusConnect(
            url=url.rstrip("/"), timeout=timeout_seconds, retry=Retry(total=0, raise_on_status=False),
            session=_Session(shown), auth=_auth_of(shown),
        )  # fmt: skip

    async def read(
        self,
        *,
        namespace: str,
        release: str,
        start: datetime,
        end: datetime,
        interval: timedelta,
        predictions: bool = False,
    ) -> Recording:
        """Return the counters of every revision at every interval; bins of predictions where asked for.

        Raises Unavailable when the server does not answer, Invalid when there is nothing to be had.
        """
        looks = int((end - start) / interval) + 1
        if looks > MOST_LOOKS:
            msg = f"{looks:,} looks lie between --start and --end, more than {MOST_LOOKS:,}: replay less"
            raise Invalid(msg)
        table: dict[int, tuple[Counter, ...]] = {}
        versions: dict[str, str] = {}
        query = _query(namespace, release, predictions=predictions)
        moments = [start + index * interval for index in range(looks)]
        async for first, rows in self._parts(query, moments, interval):
            try:
                by_moment: dict[int, list[dict[str, Any]]] = defaultdict(list)
                for index, row in _instants(rows, moments[first], interval):
                    by_moment[first + index].append(row)
                table.update({index: counters_of(shown) for index, shown in by_moment.items()})
                for revision, version in _versions(rows):
                    versions.setdefault(revision, version)
            except (LookupError, ValueError, TypeError) as problem:
                raise self._nonsense(problem) from problem
        if not versions:
            msg = (
                f"Prometheus at {self._url} has no {words.PREDICTIONS_TOTAL} of release "
                f"{namespace}/{release} in this time: check --namespace, --start and --end"
            )
            raise Invalid(msg)
        kept = (Look(at=at, counters=table.get(index, ())) for index, at in enumerate(moments))
        return Recording(looks=tuple(kept), versions=versions)

    async def asked(self, recording: Recording, spec: ReleaseSpec, place: Place) -> Recording:
        """Return a recording with what the gates' own queries would have given at each of its looks.

        A query that Prometheus refuses leaves its gate unmeasured, as it would have been then.
        """
        asked = [(gate, query) for gate in spec.analysis.gates if (query := query_of(gate, place))]
        columns = await asyncio.gather(
            *(self._answers(gate, query, place, recording) for gate, query in asked)
        )
        by_gate = {gate.name: column for (gate, _), column in zip(asked, columns, strict=True)}
        looks = (
            replace(look, answers={name: column[index] for name, column in by_gate.items()})
            for index, look in enumerate(recording.looks)
        )
        return replace(recording, looks=tuple(looks))

    async def _answers(self, gate: Gate, query: str, place: Place, recording: Recording) -> list[Answer]:
        """Return a gate's answer at every look: what is missing in a range is an empty answer."""
        moments = [look.at for look in recording.looks]
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        try:
            async for first, rows in self._parts(query, moments, place.interval):
                for index, row in _instants(rows, moments[first], place.interval):
                    found[first + index].append(row)
        except _Refused as refused:
            unmeasured = NoAnswer(verdict=Verdict.UNAVAILABLE, message=f"{shown(gate)}: {refused}")
            return [unmeasured] * len(moments)
        except (LookupError, ValueError, TypeError) as problem:
            raise self._nonsense(problem) from problem
        return [answer_of(gate, place, found[index]) for index in range(len(moments))]

    async def _parts(
        self, query: str, moments: list[datetime], interval: timedelta
    ) -> AsyncIterator[tuple[int, list[dict[str, Any]]]]:
        """Ask a query at every moment; yield the rows in parts, each with the number of its first moment."""
        for first in range(0, len(moments), MOST_POINTS):
            part = moments[first : first + MOST_POINTS]
            yield first, await self._ask(query, part[0], part[-1], interval)

    async def _ask(
        self, query: str, start: datetime, end: datetime, interval: timedelta
    ) -> list[dict[str, Any]]:
        step = f"{int(interval.total_seconds())}s"
        try:
            rows = await asyncio.to_thread(self._client.custom_query_range, query, start, end, step)
        except PrometheusApiClientException as problem:
            msg = f"Prometheus at {self._url} answered with an error: {_said(str(problem))}"
            raise _Refused(msg) from problem
        except requests.RequestException as problem:
            msg = f"Prometheus at {self._url} does not answer ({type(problem).__name__})"
            raise Unavailable(msg) from problem
        except (LookupError, ValueError, TypeError) as problem:
            raise self._nonsense(problem) from problem
        return list(rows or ())

    def _nonsense(self, problem: Exception) -> Unavailable:
        return Unavailable(f"Prometheus at {self._url} answered nonsense: {problem!r}")


class _Session(requests.Session):
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


class _Bearer(AuthBase):
    """Sets the header at the last moment: a .netrc of the machine cannot replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    @override
    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = f"Bearer {self._token}"
        return r


def _auth_of(credentials: Credentials) -> AuthBase | tuple[bytes, bytes] | None:
    """Return how requests are to prove themselves; None where nothing is asked."""
    if credentials.token:
        return _Bearer(credentials.token)
    if credentials.username and credentials.password:
        return credentials.username.encode(), credentials.password.encode()
    return None


def _said(problem: str) -> str:
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


def _query(namespace: str, release: str, *, predictions: bool) -> str:
    labels = f'{words.NAMESPACE}="{namespace}",{words.RELEASE}="{release}",{words.REVISION}!=""'
    return counters_query(counter_names(predictions=predictions), namespace=namespace, labels=labels)


def _versions(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield each revision with the version on its label."""
    for row in rows:
        labels = row["metric"]
        if words.REVISION in labels:
            yield labels[words.REVISION], labels.get(words.MODEL_VERSION, labels[words.REVISION])


def _instants(
    rows: Iterable[dict[str, Any]], start: datetime, interval: timedelta
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each value of each series as an instant query gives it, with the number of its look."""
    for row in rows:
        for moment, value in row["values"]:
            index = round((float(moment) - start.timestamp()) / interval.total_seconds())
            yield index, {"metric": row["metric"], "value": [moment, value]}
