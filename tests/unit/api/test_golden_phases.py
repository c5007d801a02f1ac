"""A status of every phase as the operator of 2026-11-30 stored it: each later one goes on from it.

`python -m tests.unit.api.test_golden_phases FILE` records today's, for the next version that goes
out. A file of one that is out there is never changed.
"""

import base64
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from modelrelease_operator.api.status import PACKED, Phase, Status
from testbed.world import a_world_in

STORED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden_status/phases-2026-11-30.json").read_text()
)


def whole(status: Status) -> dict[str, Any]:
    """Return a status as it is stored, with its evidence as it is before it is packed."""
    raw = status.to_dict()
    if packed := raw["evidence"].get(PACKED):
        raw["evidence"] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return raw


def test_every_phase_was_stored():
    assert set(STORED) == set(Phase)


@pytest.mark.parametrize("phase", Phase)
def test_a_status_that_is_out_there_is_written_back_with_all_that_it_had(phase: Phase):
    written = whole(Status.parse(STORED[phase]))
    assert {key: written.get(key) for key in STORED[phase]} == STORED[phase]


@pytest.mark.parametrize("phase", Phase)
def test_a_release_that_another_version_left_comes_to_the_same_end(phase: Phase):
    here, left = a_world_in(phase), a_world_in(phase)
    left.status = Status.parse(STORED[phase])
    first = left.step().status
    assert (first.phase, first.weight) == (here.step().status.phase, here.status.weight)
    ends = [world.ask(paused=False).run().stable.version for world in (left, here)]
    assert ends[0] == ends[1]


if __name__ == "__main__":
    recorded = {phase: whole(a_world_in(phase).status) for phase in Phase}
    Path(sys.argv[1]).write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
