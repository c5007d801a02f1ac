"""What a person's own query may hold, and how it is named. Pure: nothing here asks."""

from dataclasses import dataclass
from datetime import timedelta

from modelrelease_operator.api.status import Target

ARM, KIND = "modelrelease_arm", "modelrelease_kind"
"""Labels that mark which of the four queries of a gate a series is of."""
NO_IDENTITY = frozenset(
    {"__name__", ARM, KIND, "job", "instance", "prometheus", "prometheus_replica"}
)
"""Labels by which two copies of one pod's counter may differ: it is counted once."""
MAX_QUERY_CHARS = 120
"""Characters of a query in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryScope:
    """What the placeholders of a query stand for."""

    namespace: str
    release: str
    canary: Target
    stable: Target
    interval: timedelta
    controllers: tuple[str, ...] = ()
    """`controllerName` of each gateway that has taken the release's route."""

    def render(self, query: str, arm: Target) -> str:
        """Return a query for one arm."""
        values = {
            "release": self.release,
            "namespace": self.namespace,
            "revision": arm.revision,
            "version": arm.version,
            "interval": f"{round(self.interval.total_seconds())}s",
        }
        for name, value in values.items():
            query = query.replace(f"{{{{{name}}}}}", value)
        return query


def short(query: str) -> str:
    """Return a query on one line, as a sentence names it."""
    flat = " ".join(query.split())
    return flat if len(flat) <= MAX_QUERY_CHARS else f"{flat[:MAX_QUERY_CHARS]}…"
