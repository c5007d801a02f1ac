"""What should be: Deployments, routes and Jobs, and what is remembered and told of the decision."""

from datetime import timedelta

from modelrelease_contract.shadow import ShadowSettings
from modelrelease_operator.api.autoscaling import Autoscaling
from modelrelease_operator.api.probe import Probe
from modelrelease_operator.api.retrain import Retrain, RetrainStatus
from modelrelease_operator.api.status import Reason, Status, Target
from modelrelease_operator.core.immutable import Value, immutable

REQUEUE_SOON = timedelta(seconds=1)
"""Until something that was just asked for can be seen."""
POLL_PODS = timedelta(seconds=2)
"""Between looks at pods that start: a container's refusal raises no event on what is watched."""


@immutable
class DesiredWorkload:
    """A Deployment that should exist."""

    target: Target
    replicas: int
    track: str


@immutable
class DesiredRetraining:
    """A retraining whose Job is to be made."""

    settings: Retrain
    request: RetrainStatus
    stable: Target


@immutable
class DesiredProber:
    """A prober that should exist."""

    stable: Target
    canary: Target
    settings: Probe


@immutable
class DesiredComparison:
    """A prober that should exist to ask both revisions example rows, and compare the answers."""

    stable: Target
    canary: Target
    settings: ShadowSettings


@immutable
class DesiredBudgets:
    """The PodDisruptionBudgets that should exist."""

    max_unavailable: int
    """Pods of a revision that a drain may take at once."""
    revisions: frozenset[str]
    """Those that run, have clients, and no budget of others."""


@immutable
class Desired(Value):
    """The world as it should be: everything else of the release is removed."""

    running: tuple[DesiredWorkload, ...] = ()
    routed: frozenset[str] = frozenset()
    """Revisions that the main Service sends clients to: one, or both while a canary is judged."""
    stable: str | None = None
    canary: str | None = None
    weight: int = 0
    """Percent of the requests that the canary shall have, where clients reach it."""
    retained: frozenset[str] = frozenset()
    """Revisions that are not touched although nothing is known of them."""
    retraining: DesiredRetraining | None = None
    probing: DesiredProber | None = None
    comparing: DesiredComparison | None = None
    """In the shadow, where stable's own pods copy no requests."""
    budgets: DesiredBudgets | None = None
    """None: there are to be none."""
    autoscaling: Autoscaling | None = None
    """What the release's own autoscaler does; None: there is to be none."""
    shadow: ShadowSettings | None = None
    """Which copies a canary wants whose pods begin now."""


@immutable
class Notice:
    """Something worth an Event."""

    reason: Reason
    message: str
    warning: bool = False


@immutable
class Decision:
    """What should be, what is remembered, and when to look again (None: when something changes)."""

    desired: Desired
    status: Status
    requeue: timedelta | None = None
    notices: tuple[Notice, ...] = ()
