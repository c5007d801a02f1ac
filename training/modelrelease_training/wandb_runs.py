"""Figures to Weights & Biases, where the extra `wandb` is installed; no command fails by it."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Any, Final

KEY_VARIABLE: Final = "WANDB_API_KEY"
MODE_VARIABLE: Final = "WANDB_MODE"
PROJECT_VARIABLE: Final = "WANDB_PROJECT"
DEFAULT_PROJECT: Final = "modelrelease"
_PATIENCE_SECONDS: Final = 15

Figures = Mapping[str, float | bool | str]


def project_of(project: str | None) -> str | None:
    """Return the project to log to: the named one, a default where there is a key, or None."""
    if project or not os.environ.get(KEY_VARIABLE):
        return project
    return os.environ.get(PROJECT_VARIABLE) or DEFAULT_PROJECT


def log(project: str, *, job: str, figures: Figures) -> str | None:
    """Record `figures` as a run of `project`. Return None, or a sentence on why it failed."""
    run = Run(project, job=job, recipe={})
    run.log(figures)
    return run.finish()


class Run:
    """One run. After the first failure it does nothing more; `finish` says what failed.

    Without `WANDB_API_KEY` the run is kept on this machine, where `wandb sync` finds it.
    """

    def __init__(self, project: str, *, job: str, recipe: Figures) -> None:
        self._failure: str | None = None
        self._run: Any = None
        self._guarded(lambda: self._start(project, job, dict(recipe)))

    def log(self, figures: Figures, *, step: int | None = None) -> None:
        """Record figures, of a step where one is given."""
        self._guarded(lambda: self._run.log(dict(figures), step=step))

    def finish(self) -> str | None:
        """Send what is left. Return None, or a sentence that says why not all is there."""
        self._guarded(self._end)
        return self._failure

    def _end(self) -> None:
        self._run.finish()

    def _start(self, project: str, job: str, recipe: dict[str, Any]) -> None:
        import wandb  # noqa: PLC0415 - optional, and slow to import

        default_mode = "online" if os.environ.get(KEY_VARIABLE) else "offline"
        mode = os.environ.get(MODE_VARIABLE) or default_mode
        settings = wandb.Settings(silent=True, console="off", init_timeout=_PATIENCE_SECONDS)
        self._run = wandb.init(
            project=project,
            job_type=job,
            config=recipe,
            mode=mode,  # type: ignore[arg-type]
            settings=settings,
        )

    def _guarded(self, action: Callable[[], object]) -> None:
        if self._failure is not None:
            return
        try:
            # What it prints belongs beside the answer of a command, not into it.
            with redirect_stdout(sys.stderr):
                action()
        except ImportError as error:
            advice = "pip install 'modelrelease[wandb]'"
            self._failure = f"nothing was sent to Weights & Biases ({error}): {advice}"
        except Exception as error:
            reason = str(error).partition("\n")[0]
            self._failure = (
                f"not all was sent to Weights & Biases ({type(error).__name__}: {reason})"
            )
