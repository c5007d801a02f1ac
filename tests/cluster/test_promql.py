"""What the operator asks Prometheus, by Prometheus' own language in promtool. Needs no cluster."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.toolchain import promtool
from modelrelease_operator.runtime.metric_sources.prometheus.series import (
    bins_query,
    bins_query_of_many,
)
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR

ASKED = Revisions(namespace="ml", release="qna", metrics={"r1": PREDICTOR.metrics})
OURS = 'namespace="ml",pod="qna-r1-x",instance="10.0.0.1:8000",job="pods"'
OTHERS = 'namespace="ml",pod="worker",instance="10.0.0.2:9000",job="pods"'
SERIES = {
    f'predictions_total{{release="qna",revision="r1",code="200",{OURS}}}': "3x5",
    f"process_start_time_seconds{{{OURS}}}": "1700x5",
    f'process_start_time_seconds{{process="1",{OTHERS}}}': "1600x5",
    f'process_start_time_seconds{{process="2",{OTHERS}}}': "1601x5",
}


def answer_to(query: str, release: str, tmp_path: Path) -> None:
    """Have promtool hold what a query gives against the one row that it has to give."""
    labels = f'{{{OURS},revision="r1",modelrelease_kind="process_start"{release}}}'
    case: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in SERIES.items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": "3m", "exp_samples": [{"labels": labels, "value": 1700}]}
        ],
    }
    file = tmp_path / "query.json"
    file.write_text(json.dumps({"tests": [case]}))
    done = subprocess.run(
        [promtool(), "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("together", [False, True])
def test_another_program_that_shows_several_processes_breaks_no_look_at_bins(
    tmp_path: Path, *, together: bool
):
    """Such as one whose workers are scraped at one address: it is not ours to ask about."""
    query = bins_query_of_many([ASKED]) if together else bins_query(ASKED)
    assert query is not None
    answer_to(query, ',release="qna"' if together else "", tmp_path)
