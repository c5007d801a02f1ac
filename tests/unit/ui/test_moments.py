"""What was seen of releases over time is kept, and never more than there is room for."""

from itertools import count

from modelrelease_operator.api.status import Phase
from modelrelease_operator.ui.moments import MOST_OF_ONE, Moment, Past, Pasts, in_columns
from testbed.world import a_world_in


def a_moment(at: float, *, asked: int = 0, phase: str = "Progressing") -> Moment:
    return Moment(
        at=at, phase=phase, canary="rev2", asked=asked, counted=None, pairs=None, gates={}
    )


def test_a_look_that_tells_nothing_new_is_not_kept():
    past = Past()
    past.add(a_moment(1))
    past.add(a_moment(2))
    past.add(a_moment(3, asked=5))
    assert [moment.at for moment in past.moments] == [1, 3]
    assert past.since == 1


def test_a_long_release_is_seen_from_its_beginning_in_fewer_points():
    past = Past()
    for at in range(20 * MOST_OF_ONE):
        past.add(a_moment(at, asked=at % 100))
    assert len(past.moments) <= MOST_OF_ONE
    assert past.moments[0].at == 0
    assert past.moments[-1].at == 20 * MOST_OF_ONE - 1
    times = [moment.at for moment in past.moments]
    assert times == sorted(times)


def test_the_moments_of_a_new_phase_are_kept_longest():
    past = Past()
    for at in range(2 * MOST_OF_ONE):
        past.add(a_moment(at, asked=at % 100, phase="Paused" if at > 111 else "Progressing"))
    assert next(moment.at for moment in past.moments if moment.phase == "Paused") == 112


def test_phases_that_change_at_every_look_grow_no_past_without_end():
    past = Past()
    for at in range(5 * MOST_OF_ONE):
        past.add(a_moment(at, phase="Paused" if at % 2 else "Progressing"))
    assert len(past.moments) <= MOST_OF_ONE


def test_all_releases_together_have_a_bound_and_the_longest_gives_way():
    pasts, clock = Pasts(most=100), count()
    pasts.add("short", a_moment(0))
    for at in clock:
        pasts.add(f"long{at % 3}", a_moment(at, asked=at % 100))
        if at > 1000:
            break
    assert sum(len(past.moments) for past in pasts.by_uid.values()) <= 100
    assert len(pasts.of("short").moments) == 1


def test_more_releases_than_moments_are_no_end_of_work():
    pasts = Pasts(most=3)
    for number in range(10):
        pasts.add(f"uid-{number}", a_moment(number))
    assert sum(len(past.moments) for past in pasts.by_uid.values()) == 3
    assert pasts.of("uid-9").moments


def test_columns_have_a_value_for_every_moment_of_every_gate():
    world, past = a_world_in(Phase.PROGRESSING), Past()
    for _ in range(4):
        world.step()
        past.add(Moment.of(world.spec, world.status, world.now))
    columns = in_columns(past.moments)
    assert set(columns["gates"]) == {"errors", "latency"}
    lengths = {len(values) for gate in columns["gates"].values() for values in gate.values()}
    assert lengths == {len(columns["at"])}
