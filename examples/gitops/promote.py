"""Proposes that one environment releases what another has: a commit on a branch of its own, for a
pull request.
"""

import argparse
import sys
from collections.abc import Sequence

from modelrelease_training.gitops import (
    GitOpsError,
    Location,
    commit,
    content_of,
    model_in,
    version_of,
)

_EPILOG = """\
example:
  python -m examples.gitops.promote qna --from staging --to production \\
    --repository git@git.example:models.git

exit codes: 0 proposed, or there already; 2 it cannot be
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Propose a promotion. Return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        print(propose(options.model, options.source, options.target, options.repository))
    except GitOpsError as error:
        print(f"promote: {error}", file=sys.stderr)
        return 2
    return 0


def propose(model: str, source: str, target: str, repository: str) -> str:
    """Put the model of one environment into the file of another, on a branch. Return a sentence.

    Raises GitOpsError where a file is missing or the repository cannot be written.
    """
    new = model_in(content_of(Location(repository=repository, file=_file(source, model))))
    version = version_of(new)
    branch = f"promote/{model}-{version}-to-{target}"
    proposal = Location(repository=repository, file=_file(target, model), onto=branch)
    made = commit(proposal, new, message=f"Release {model} {version} to {target}")
    if made is None:
        return f"{target} has {model} {version} already"
    return f"branch {branch} proposes {model} {version} for {target}: open a pull request of it"


def _file(environment: str, model: str) -> str:
    return f"environments/{environment}/{model}.yaml"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.gitops.promote",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="name of its files, such as qna")
    parser.add_argument("--from", dest="source", required=True, metavar="ENVIRONMENT")
    parser.add_argument("--to", dest="target", required=True, metavar="ENVIRONMENT")
    parser.add_argument("--repository", required=True, metavar="URL")
    return parser


if __name__ == "__main__":
    sys.exit(main())
