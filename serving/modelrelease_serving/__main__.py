"""The predictor's command line: which of its jobs to do, and with which exit code it ends."""

import argparse
import io
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final, NoReturn

from pydantic import ValidationError

from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.logs import configure, fail_with_message
from modelrelease_serving.settings import Settings, explain, variables

EXIT_UNREACHABLE: Final = 1
EXIT_USAGE: Final = 2
EXIT_TERMINATED: Final = 128 + signal.SIGTERM

_EXAMPLES: Final = """\
examples:
  Serve an artifact that you made yourself, on any free port, with logs for people:
    MODEL_PATH=artifacts/qna/1 ALLOW_UNPINNED=true PORT=0 LOG_FORMAT=text python -m modelrelease_serving

  Ask it:
    curl -s localhost:8000/predict -H 'Content-Type: application/json' -d '{"features": [0.1, ...]}'

  Copy an artifact first, and refuse any other than the one that was pinned:
    MODEL_URI=https://models.example.com/qna/1/ MODEL_SHA256=... MODEL_PATH=/models \\
      python -m modelrelease_serving fetch

  Find out the version and the digest of an artifact:
    MODEL_URI=s3://models/qna/1 MODEL_PATH=/tmp/qna python -m modelrelease_serving describe

  Load an artifact as a pod would, and answer requests from standard input, one body in each line:
    echo '{"features": [0.1, ...]}' | MODEL_PATH=artifacts/qna/1 ALLOW_UNPINNED=true python -m modelrelease_serving check

  Check the files of an artifact that is there already, as that of an image which a node mounted:
    MODEL_PATH=/models MODEL_SHA256=... python -m modelrelease_serving inspect

  Check who signed an artifact that was fetched:
    SIGNING_KEY_OF_RELEASE="$(cat models.pub)" MODEL_PATH=/models python -m modelrelease_serving verify

  Compare two predictors on the example rows of their artifacts, and show the counts on port 8001:
    MODEL_PATH=probing PROBE_STABLE_URL=http://localhost:8000 PROBE_CANARY_URL=http://localhost:8010 \\
      PORT=8001 python -m modelrelease_serving probe    # manifests in probing/stable and probing/canary

exit codes:
  0 stopped as asked; 1 the artifact could not be fetched in time; 2 a setting is wrong;
  65 the artifact can never work. Every failure is one sentence in the log and the termination log.
"""  # noqa: E501


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands. Return the exit code."""
    command = _parser().parse_args(arguments).command
    # As the first process of a container nothing else would make this one end on SIGTERM.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        settings = Settings()
    except ValidationError as error:
        configure(level="INFO", form="json")
        fail_with_message(
            explain(error), termination_log=Settings.model_fields["termination_log"].default
        )
        return EXIT_USAGE
    configure(level=settings.log_level, form=settings.log_format)
    jobs = {
        "serve": _serve, "check": _check, "fetch": _fetch, "verify": _verify,
        "describe": _describe, "inspect": _inspect, "probe": _probe, "compare": _compare,
    }  # fmt: skip
    return jobs[command](settings)


def _serve(settings: Settings) -> int:
    from modelrelease_serving.server import run  # noqa: PLC0415 - fetch must not wait for numpy and FastAPI

    return run(settings)


def _check(settings: Settings) -> int:
    from modelrelease_serving.check import run  # noqa: PLC0415 - as `serve`

    try:
        # A process that was started with its standard input closed has none.
        run(settings, sys.stdin.buffer if sys.stdin else io.BytesIO())
    except RefusedError as error:
        fail_with_message(str(error), termination_log=settings.termination_log)
        return EXIT_REFUSED
    return 0


def _fetch(settings: Settings) -> int:
    from modelrelease_serving.fetch import fetch  # noqa: PLC0415 - and serve not for urllib

    return _ended(settings, fetch)


def _verify(settings: Settings) -> int:
    from modelrelease_serving.verify import verify  # noqa: PLC0415 - nobody else waits for it

    return _ended(settings, verify)


def _describe(settings: Settings) -> int:
    from modelrelease_serving.describe import run  # noqa: PLC0415 - as `fetch`

    return _ended(settings, run)


def _inspect(settings: Settings) -> int:
    from modelrelease_serving.inspect_mount import inspect  # noqa: PLC0415 - as `verify`

    return _ended(settings, inspect)


def _ended(settings: Settings, job: Callable[[Settings], object]) -> int:
    """Do what ends by itself; return the exit code, and say why where it failed."""
    try:
        job(settings)
    except RefusedError as error:
        fail_with_message(str(error), termination_log=settings.termination_log)
        return EXIT_REFUSED
    except UnreachableError as error:
        fail_with_message(str(error), termination_log=settings.termination_log)
        return EXIT_UNREACHABLE
    except OSError as error:
        fail_with_message(
            f"cannot write to {settings.model_path}: {error}",
            termination_log=settings.termination_log,
        )
        return EXIT_UNREACHABLE
    return 0


def _probe(settings: Settings) -> int:
    from modelrelease_serving.probe import run  # noqa: PLC0415 - needs neither numpy nor FastAPI

    return run(settings)


def _compare(settings: Settings) -> int:
    from modelrelease_serving.compare import run  # noqa: PLC0415 - as `serve`

    return run(settings)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(EXIT_TERMINATED)


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {name:<28} {default}".rstrip() for name, default in sorted(variables().items())]
    parser = argparse.ArgumentParser(
        prog="modelrelease_serving",
        description="Serve one model artifact over HTTP, check, fetch, inspect or verify it first, "
        "or probe or compare two that serve. "
        "Settings: the environment.",
        epilog="\n".join(["environment variables and their defaults:", *lines, "", _EXAMPLES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("serve", "check", "fetch", "inspect", "verify", "describe", "probe", "compare"),
        default="serve",
        help="default: serve",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
