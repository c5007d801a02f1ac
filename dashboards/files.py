"""What is made, and where it lies in the chart."""

from pathlib import Path
from typing import Final

from dashboards import recording
from dashboards.board import Board
from dashboards.drift import drift
from dashboards.fleet import fleet
from dashboards.operators import operators
from dashboards.release import release

FILES: Final = Path(__file__).parents[1] / "charts/modelrelease/files"


def boards() -> tuple[Board, ...]:
    """Return every dashboard."""
    return fleet(), release(), drift(), operators()


def texts() -> dict[str, str]:
    """Return every file's text, by its path below the chart's `files`."""
    made = {f"dashboards/{board.file}": board.text() for board in boards()}
    return {**made, "recording-rules.yaml": recording.text()}
