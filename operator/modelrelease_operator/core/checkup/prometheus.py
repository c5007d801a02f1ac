"""What is concluded from a Prometheus that was asked for a release's pods."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.checkup.finding import Finding, Subject
from modelrelease_operator.core.checkup.release import METRICS
from modelrelease_operator.core.measurement.samples import LAGS_AFTER, blind_limit

USUAL_SECONDS = 60.0
"""Prometheus' own default. What is scraped more rarely is found out much later."""
JITTER = 1.05
"""Scrapes come a little later than they are meant to."""
SHORTEN = "shorten the scrape interval of the predictors' job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """What a server shows of a release's pods."""

    url: str
    shown: Collection[str]
    """Pods of which it has counters."""
    ready: Collection[str] | None
    """Pods that are ready; None where the person may not list them."""
    why_missing: str | None
    """Why ready pods are not shown, where that could be told."""
    seconds: float | None
    """Between two scrapes; None where no pod was scraped twice in the last ten minutes."""
    several: bool
    """Whether more than one server answers at the address."""


def about_scrapes(subject: Subject, spec: ReleaseSpec, seen: Scraped) -> Iterator[Finding]:
    """Say whether the pods are shown, and how often they are scraped."""
    yield _about_pods(subject, seen)
    if seen.seconds is not None:
        yield _about_interval(subject, spec, seen.seconds)
    if seen.several:
        yield subject.ok(
            METRICS,
            f"two servers or more answer at {seen.url} in turn: what each saw of a pod is counted "
            "once",
        )


def _about_pods(subject: Subject, seen: Scraped) -> Finding:
    missing = sorted(set(seen.ready or ()) - set(seen.shown))
    server = f"Prometheus at {seen.url}"
    if missing:
        why = seen.why_missing or f"{server} shows no counters of {', '.join(missing[:3])}"
        says = f"{len(missing)} of {len(seen.ready or ())} ready pods are not shown: {why}"
        # One that got ready a moment ago is shown after its first scrape.
        found = subject.warning if seen.shown else subject.wrong
        return found(METRICS, says, "docs/reference/metrics.md says what a scrape job needs")
    if not seen.shown:
        says = f"{server} answers, and shows no pod of this release"
        if seen.ready is None:
            return subject.unseen(METRICS, f"{says}; whether any is ready could not be seen")
        return subject.warning(METRICS, f"{says}; none is ready")
    if seen.ready is None:
        says = f"{server} shows {len(seen.shown)} pods; which are ready could not be seen"
        return subject.unseen(METRICS, says)
    return subject.ok(METRICS, f"{server} shows all {len(seen.ready)} ready pods")


def _about_interval(subject: Subject, spec: ReleaseSpec, seconds: float) -> Finding:
    """Hold the time between two scrapes against how long a canary may go unseen."""
    every = f"pods are scraped every {seconds:.3g} s"
    look = f"a look comes every {spec.analysis.interval}"
    limit = blind_limit(spec.analysis.max_blind.span, Evidence(scrape_seconds=seconds))
    if timedelta(seconds=LAGS_AFTER * seconds) > JITTER * limit:
        return subject.wrong(
            METRICS,
            f"{every}: two samples of a pod take longer than the {format_duration(limit)} that a "
            "canary may go unseen (spec.analysis.maxBlind), so it may leave the Service again and "
            "again",
            f"{SHORTEN}, or raise spec.analysis.maxBlind",
        )
    if seconds > JITTER * USUAL_SECONDS:
        return subject.warning(
            METRICS,
            f"{every}, and {look}: a step takes two scrapes at least, and a canary that fails is "
            "found so much later",
            SHORTEN,
        )
    return subject.ok(METRICS, f"{every}, and {look}")
