"""The table of rivals says whose figure is whose, and a controller that is not there is named."""

import pytest

from benchmarks.scale_rivals import RIVALS, Cost, Rival, _pid_of, table_of


def a_cost(name: str, **changes: float) -> Cost:
    figures = {"begun_seconds": 1.0, "begun_cpu": 2.0, "memory": 3.0}
    judged = {"judged_cores": 0.25, "judged_memory": 4.0}
    return Cost(name=name, **(figures | judged | changes))


def test_each_contender_has_a_column():
    table = table_of([a_cost("ours"), a_cost("theirs", begun_seconds=21.5)], 200)
    assert table.splitlines()[0] == "| | ours | theirs |"
    assert "| 200 begun at once, until all serve | 1 s | 21.5 s |" in table
    assert "| 200 judged every 5 s | 0.25 cores | 0.25 cores |" in table


def test_a_controller_that_does_not_run_is_named():
    with pytest.raises(RuntimeError, match="one process of no-such-program should run"):
        _pid_of("no-such-program")


@pytest.mark.parametrize("rival", RIVALS, ids=[rival.name for rival in RIVALS])
def test_pods_of_a_rival_are_for_fake_nodes_and_restricted_namespaces(rival: Rival):
    made = [body for _, body in rival.first("any")]
    (template,) = (body["spec"]["template"] for body in made if "template" in body.get("spec", {}))
    assert template["spec"]["nodeSelector"] == {"type": "fake"}
    assert template["spec"]["securityContext"]["runAsNonRoot"]
