"""`python -m modelrelease_training.flow`: runs a retraining, or serves it to a Prefect server."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from modelrelease_contract import retrain as words
from modelrelease_training.commands.common import Parser, last_resort, seed
from modelrelease_training.errors import EXIT_REFUSED, EXIT_USAGE, TrainingError
from modelrelease_training.flow.request import Request
from modelrelease_training.gitops import GitOpsError
from modelrelease_training.ingest import parse_shift

EXIT_INTERRUPTED: Final = 130
TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Kubernetes shows what a container leaves here; the operator repeats it in status."""
_NEEDS: Final = (
    "the flow has an environment of its own: `pip install 'modelrelease[flow]'` there, or in a "
    "clone `make setup-flow` and `.venv-flow/bin/python flow_retrain.py`"
)
_HOW: Final = ("estimator", "regularization", "max_steps", "batch_size", "seed")
_PREFECT: Final = {
    # No account, nothing sent anywhere; and a slow machine gets the time that it needs.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
}

_EPILOG = """\
examples:
  Retrain on a file, compare with the champion, and let the alias `candidate` move:
    export MLFLOW_TRACKING_URI=http://localhost:5000
    python -m modelrelease_training.flow run --id monday --data data/monday.parquet

  The same, released by a commit to the repository that holds the ModelRelease:
    python -m modelrelease_training.flow run --id monday --data data/monday.parquet \\
      --git-repository git@git.example:models.git --git-file releases/qna.yaml

  Try it with rows drawn from a seed, of a world whose feature_03 moved by two deviations:
    python -m modelrelease_training.flow run --id try-1 --drawn 5000 --shift feature_03=+2

  Stopped in the middle? The same command goes on after the last step that was finished.

  As a Prefect deployment, `retrain-flow/production-retrain`, of the server at PREFECT_API_URL:
    python -m modelrelease_training.flow serve --data data/latest.parquet
    prefect deployment run retrain-flow/production-retrain
    prefect deployment run retrain-flow/production-retrain --param request='{"data": "data/monday.parquet"}'

exit codes: 0 released (or registered), 2 the request cannot be met, 3 the data breaks its schema,
4 the challenger is refused.
"""  # noqa: E501


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return the exit code."""
    options = _parser().parse_args(arguments)
    for name, value in _PREFECT.items():
        os.environ.setdefault(name, value)
    try:
        return _serve(options) if options.command == "serve" else _run(options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the request"
        return _give_up(f"{field}: {first['msg']}, got {first['input']!r}", EXIT_USAGE)
    except TrainingError as error:
        return _give_up(str(error), error.exit_code)
    except (GitOpsError, OSError) as error:
        return _give_up(str(error), EXIT_USAGE)
    except ModuleNotFoundError as error:
        return _give_up(f"{error}: {_NEEDS}", EXIT_USAGE)
    except KeyboardInterrupt:
        return _give_up(
            "stopped; the same command goes on after the last finished step", EXIT_INTERRUPTED
        )
    except Exception as error:
        return _give_up(last_resort(error), EXIT_USAGE)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m modelrelease_training.flow",
        description="Retrain a model, compare it with the champion, and release it as a canary.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    shape: Any = {"epilog": _EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
    serve_help = "serve the deployment production-retrain to the server at PREFECT_API_URL"
    serve = commands.add_parser("serve", help=serve_help, **shape)
    serve.set_defaults(id="")
    run = commands.add_parser("run", help="run one retraining", **shape)
    run.add_argument(
        "--id",
        default=os.environ.get(words.ENV_REQUEST) or time.strftime("%Y%m%d-%H%M%S", time.gmtime()),
        help=(
            f"names the request and the new version (default: ${words.ENV_REQUEST}, else the time)"
        ),
    )
    run.add_argument(
        "-o", "--format", choices=("text", "json"), default="text", help="of the answer"
    )
    for command in (serve, run):
        _add_request(command)
    return parser


def _add_request(command: argparse.ArgumentParser) -> None:
    """Add what a request says; of a deployment, what one says that is run without parameters."""
    command.add_argument(
        "--model",
        default=os.environ.get(words.ENV_MODEL) or "qna",
        help=f"name of the registered model (default: ${words.ENV_MODEL}, else qna)",
    )
    command.add_argument("--version", help="of the new artifact (default: the id)")
    command.add_argument(
        "--workdir", type=Path, default=Path("retrain"), help="(default: ./%(default)s)"
    )
    _add_data(command.add_argument_group("data"))
    _add_how(command.add_argument_group("how the model is fitted, and when it is accepted"))
    _add_release(command.add_argument_group("release"))


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", type=Path, metavar="FILE", help="a .parquet or .csv file")
    group.add_argument("--drawn", type=int, metavar="ROWS", help="draw so many rows instead")
    group.add_argument(
        "--seed", type=seed, default=7, help="of drawn rows and of the fit (default: %(default)s)"
    )
    group.add_argument(
        "--shift",
        action="append",
        default=[],
        metavar="FEATURE=DEVIATIONS",
        help="move a drawn feature",
    )
    group.add_argument("--schema", type=Path, metavar="FILE", help="data schema in YAML")


def _add_how(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--estimator", choices=("logistic", "sgd", "forest"))
    group.add_argument("--regularization", type=float, default=1.0, metavar="C")
    group.add_argument("--max-steps", "--max_steps", type=int, metavar="N")
    group.add_argument("--batch-size", "--batch_size", type=int, metavar="N")
    group.add_argument("--metric", choices=("roc_auc", "accuracy", "log_loss"), default="roc_auc")
    group.add_argument(
        "--margin", type=float, default=0.01, help="how much worse than the champion it may be"
    )
    group.add_argument(
        "--floor", type=float, help="the worst that is accepted whatever the champion does"
    )


def _add_release(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--release",
        choices=("alias", "git", "none"),
        help=(
            "move the alias candidate, commit, or only register (default: alias, or git with its "
            "options)"
        ),
    )
    group.add_argument("--git-repository", metavar="URL")
    group.add_argument("--git-file", metavar="PATH", help="of the ModelRelease in the repository")
    group.add_argument("--git-branch", default="main", metavar="NAME")


def request_of(options: argparse.Namespace) -> Request:
    """Return the request that the options mean. Raises ValidationError, ValueError for a shift."""
    fields: dict[str, Any] = {
        "model": options.model,
        "version": options.version,
        "data": options.data,
        "drawn": _drawn(options),
        "schema_file": options.schema,
        "how": {name: getattr(options, name) for name in _HOW},
        "accept": {"metric": options.metric, "margin": options.margin, "floor": options.floor},
        "git": _git(options),
        "workdir": options.workdir,
    }
    if options.id:
        fields["id"] = options.id
    fields["release"] = options.release or ("git" if fields["git"] else "alias")
    return Request.model_validate(fields)


def _drawn(options: argparse.Namespace) -> dict[str, Any] | None:
    shifts = dict(parse_shift(text) for text in options.shift)
    if options.drawn is None and not shifts:
        return None
    return {"rows": options.drawn or 5000, "seed": options.seed, "shifts": shifts}


def _git(options: argparse.Namespace) -> dict[str, Any] | None:
    if options.git_repository is None and options.git_file is None:
        return None
    return {
        "repository": options.git_repository,
        "file": options.git_file,
        "branch": options.git_branch,
    }


def _run(options: argparse.Namespace) -> int:
    request = _request_of(options)
    # What was finished is remembered beside the files that it made.
    home = request.workdir.resolve() / ".prefect"
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home))
    from modelrelease_training.flow.flow import retrain  # noqa: PLC0415 - reads the environment when imported

    answer = retrain(request)
    text = f"{request.model} {request.label}: {answer['reason']}"
    print(json.dumps(answer) if options.format == "json" else text)
    _leave_word(text)
    return 0 if answer["accepted"] else EXIT_REFUSED


def _serve(options: argparse.Namespace) -> int:
    request = _request_of(options)
    from modelrelease_training.flow.flow import DEPLOYMENT, retrain  # noqa: PLC0415

    retrain.serve(
        name=DEPLOYMENT,
        description="Retrain, compare, register, release. One at a time.",
        parameters={"request": request.model_dump(mode="json", exclude_defaults=True)},
        limit=1,
    )
    return 0


def _request_of(options: argparse.Namespace) -> Request:
    try:
        return request_of(options)
    except ValidationError:
        raise
    except ValueError as error:
        raise TrainingError(str(error)) from error


def _give_up(message: str, code: int) -> int:
    print(f"retrain: {message}", file=sys.stderr)
    _leave_word(message)
    return code


def _leave_word(text: str) -> None:
    if TERMINATION_LOG.exists():
        # A word less must not change the exit code.
        with suppress(OSError):
            TERMINATION_LOG.write_text(text[:4000])


if __name__ == "__main__":
    sys.exit(main())
