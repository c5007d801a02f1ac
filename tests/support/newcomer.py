"""A newcomer reads README and tutorial. Which blocks they type where, and why some nowhere."""

from itertools import chain
from pathlib import Path
from typing import Final

from tests.support.walkthrough import Block, blocks

ROOT: Final = Path(__file__).parents[2]
README: Final = "README.md"
LESSONS: Final = ("docs/tutorial/first-release.md", "docs/tutorial/your-own-model.md")

ALONE: Final = frozenset({"make demo ", "make cluster-down NAME=demo"})
"""Beginnings of blocks of the README that want minutes and a cluster of their own."""

NOT_TYPED: Final = {
    "make test ": "it is what runs the newcomer",
    "$ kubectl apply -f release.yaml": "models.example is nobody's; the tutorial applies a model",
    "$ curl http://qna/predict": "qna is a name inside of a cluster; the tutorial asks a model",
    "modelrelease replay": "its two times stand for an incident of the reader's",
    "pip install ": "before the first release there is nothing to install; a clone has it",
    "docker compose up": "needs Docker; CONTRIBUTING.md says when it was started by hand",
    "make demo-loop": "takes a quarter of an hour; tests/cluster/test_retrain.py has its parts",
    "helm install ": "its two images stand for the reader's; `make cluster-up` installs the chart",
}
"""Beginnings of blocks that nobody types, each with its reason."""

BORROWED: Final = {"make cluster-down": "the cluster is that of all tests"}
"""The same for a newcomer on a cluster that others need, too."""


def begins(block: Block, beginnings: frozenset[str] | dict[str, str]) -> bool:
    """Tell whether a block begins with one of some words."""
    return block.text.startswith(tuple(beginnings))


def of_document(name: str) -> tuple[Block, ...]:
    """Return what a document has a reader do: its commands and its files."""
    found = blocks(ROOT / name, ROOT)
    return tuple(it for it in found if it.commands or it.file)


def of_lessons() -> tuple[Block, ...]:
    """Return what the tutorial has a reader do, one lesson after the other."""
    return tuple(chain.from_iterable(of_document(name) for name in LESSONS))


def of_readme() -> tuple[Block, ...]:
    """Return what the README has a reader do without a cluster."""
    return tuple(
        it for it in of_document(README) if not begins(it, NOT_TYPED) and not begins(it, ALONE)
    )
