"""Figures to Weights & Biases, where the extra `wandb` is installed. A run that fails fails no command."""

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout

KEY_VARIABLE = "WANDB_API_KEY"
MODE_VARIABLE = "WANDB_MODE"


def log(project: str, *, job: str, figures: Mapping[str, float | bool | str]) -> str | None:
    """Record `figures` as one run of `project`. Return None, or a sentence that says why they are not there.

    Without `WANDB_API_KEY` the run is kept on this machine, where `wandb sync` finds it.
    """
    # What it says belongs beside the answer of a command, not into it.
    with redirect_stdout(sys.stderr):
        return _logged(project, job, dict(figures))


def _logged(project: str, job: str, figures: dict[str, float | bool | str]) -> str | None:
    try:
        import wandb  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        return f"nothing was sent to Weights & Biases ({error}): pip install 'modelrelease[wandb]'"
    mode = os.environ.get(MODE_VARIABLE) or ("online" if os.environ.get(KEY_VARIABLE) else "offline")
    settings = wandb.Settings(silent=True, console="off", init_timeout=15)
    try:
        run = wandb.init(project=project, job_type=job, mode=mode, settings=settings)  # type: ignore[arg-type]
        run.log(figures)
        run.finish()
    except Exception as error:
        reason = str(error).partition("\n")[0]
        return f"nothing was sent to Weights & Biases ({type(error).__name__}: {reason})"
    return None
