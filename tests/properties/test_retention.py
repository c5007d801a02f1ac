"""However pods come, go, restart and return:
nothing is counted twice, and status holds only pods of late.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.core.measurement.retention import GONE_AFTER
from tests.support.examples import examples
from tests.unit.core.measurement.test_retention import STABLE, Looks, Shown

PODS = tuple(f"rev2-{letter}" for letter in "abc")
SPANS = st.sampled_from([timedelta(seconds=10), GONE_AFTER / 2, GONE_AFTER, 3 * GONE_AFTER])


@dataclass(frozen=True)
class Turn:
    """What a pod does until a look: it may start anew, answers so many, and is shown or not."""

    shown: bool
    good: int
    bad: int
    restarts: bool


Story = list[tuple[timedelta, tuple[Turn, ...]]]


def turns(*, restarts: st.SearchStrategy[bool]) -> st.SearchStrategy[Story]:
    turn = st.builds(Turn, st.booleans(), st.integers(0, 9), st.integers(0, 3), restarts)
    return st.lists(st.tuples(SPANS, st.tuples(*[turn] * len(PODS))), min_size=1, max_size=25)


@dataclass
class Pod:
    """What a pod did in truth, and what may be known of it."""

    good: int = 0
    bad: int = 0
    served: int = 0
    failed: int = 0
    """All that it ever answered, whatever its counters say."""
    known: tuple[int, int] | None = (0, 0)
    """Its counters when it was last shown; None once they were dropped."""
    missed: datetime | None = None
    expected: tuple[int, int] = (0, 0)

    def does(self, turn: Turn) -> None:
        if turn.restarts:
            self.good = self.bad = 0
        self.good, self.bad = self.good + turn.good, self.bad + turn.bad
        self.served, self.failed = self.served + turn.good + turn.bad, self.failed + turn.bad

    def is_looked_at(self, now: datetime, *, shown: bool) -> None:
        """Say in plain words what should be counted of a pod that does not restart."""
        if shown:
            total, bad = self.good + self.bad, self.bad
            old = self.known or (total, bad)
            self.expected = (self.expected[0] + total - old[0], self.expected[1] + bad - old[1])
            self.known, self.missed = (total, bad), None
            return
        self.missed = self.missed or now
        if now - self.missed >= GONE_AFTER:
            self.known = None


def live(story: Story) -> tuple[Looks, dict[str, Pod]]:
    """Let pods live through a story that begins with all of them there."""
    pods = {name: Pod() for name in PODS}
    looks = Looks().look({**STABLE, **dict.fromkeys(PODS, (0, 0))})
    for span, does in story:
        shown: Shown = dict(STABLE)
        for (name, pod), turn in zip(pods.items(), does, strict=True):
            pod.does(turn)
            pod.is_looked_at(looks.now + span, shown=turn.shown)
            if turn.shown:
                shown[name] = (pod.good + pod.bad, pod.bad)
        looks.look(shown, after=span)
        for name, pod in pods.items():
            assert (name in looks.pods()) == (pod.known is not None)
    return looks, pods


@given(turns(restarts=st.just(False)))
@examples(150)
def test_of_pods_that_come_and_go_exactly_what_can_be_known_is_counted(
    story: Story,
):
    looks, pods = live(story)
    assert looks.counted()[:2] == [
        sum(pod.expected[place] for pod in pods.values()) for place in (0, 1)
    ]


@given(turns(restarts=st.booleans()))
@examples(150)
def test_whatever_restarts_and_returns_no_request_is_counted_twice(
    story: Story,
):
    looks, pods = live(story)
    total, bad, *_ = looks.counted()
    assert total <= sum(pod.served for pod in pods.values())
    assert bad <= sum(pod.failed for pod in pods.values())
    assert len(looks.evidence.absent) + len({*looks.evidence.forgotten}) <= 2 * len(PODS)
