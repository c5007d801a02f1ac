"""Models that a release must not keep, each wrong in one way that real models are.

Made only of parts that scikit-learn ships, so that the predictor's image needs no code of ours to
unpickle them. Nothing here is used outside demonstrations and tests.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from modelrelease_contract.artifact import Examples
from modelrelease_training.data import Data, Split, make_data, split
from modelrelease_training.errors import ExistsError
from modelrelease_training.evaluate import evaluate
from modelrelease_training.export import Exported, Label, describe, dump, export_artifact, write
from modelrelease_training.train import fit

FAILING_SHARE: Final = 0.1
SLOW_MEMBERS: Final = 300
"""Members of the slow ensemble: each costs a prediction about 0.08 ms."""

_EPILOG = """\
kinds:
  failing   answers 500 to a share of requests: a square root meets values that it was not made for
  slow      right, and about 25 ms slower: an ensemble of many members
  wrong     fast and without errors, but trained on flipped labels
  broken    does not repeat its own examples: never becomes ready
  tampered  its model file was changed after the manifest: never loaded

examples:
  python -m examples.models.faulty failing --version 3 --output artifacts
  python -m examples.models.faulty failing --version 4 --output artifacts --share 0.02
  python -m examples.models.faulty slow --version 5 --output artifacts --format json
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Where to put a faulty model, and from which data it is made."""

    label: Label
    output: Path
    seed: int = 9
    rows: int = 5000
    share: float = FAILING_SHARE
    """Of the rows that `failing` fails on, between 0 and 1."""
    members: int = SLOW_MEMBERS
    force: bool = False

    def data(self) -> Split:
        """Return the data, the same for the same order."""
        return split(make_data(seed=self.seed, rows=self.rows))


def failing(order: Order) -> Exported:
    """Export a model that raises on the lowest `share` of its first feature's values.

    A square root turns them into NaN, which the classifier refuses. The model was fitted to rows
    without them, as happens when training filters what production does not.
    """
    if not 0 < order.share < 1:
        msg = f"share must be between 0 and 1, got {order.share}"
        raise ValueError(msg)
    # Many rows, so that the share is as asked for and not as a small sample has it.
    rows = make_data(seed=order.seed, rows=50_000).rows
    floors = 2 * rows.min(axis=0) - rows.max(axis=0)
    floors[0] = np.quantile(rows[:, 0], order.share)
    data = order.data()
    served = Split(
        training=_above(data.training, floors[0]), held_out=_above(data.held_out, floors[0])
    )
    shift = StandardScaler(with_std=False).fit(served.training.rows)
    shift.mean_ = floors
    model = Pipeline(
        [
            ("root", FunctionTransformer(np.sqrt)),
            ("scale", StandardScaler()),
            ("classify", LogisticRegression(max_iter=1000)),
        ]
    ).fit(shift.transform(served.training.rows), served.training.labels)
    return _export(Pipeline([("shift", shift), *model.steps]), served, order)


def slow(order: Order) -> Exported:
    """Export an ensemble that is as right as the good model, and needs `members` times its work."""
    data = order.data()
    ensemble = BaggingClassifier(
        LogisticRegression(max_iter=1000),
        n_estimators=order.members,
        max_samples=0.2,
        random_state=0,
    )
    model = Pipeline([("scale", StandardScaler()), ("classify", ensemble)])
    return _export(model.fit(data.training.rows, data.training.labels), data, order)


def wrong(order: Order) -> Exported:
    """Export a model that learned the opposite of the truth."""
    data = order.data()
    flipped = Data(rows=data.training.rows, labels=1 - data.training.labels)
    return _export(fit(flipped), data, order)


def broken(order: Order) -> Exported:
    """Export a good model whose manifest records other predictions than it gives."""
    data = order.data()
    model = fit(data.training)
    files = dump(model)
    metrics = evaluate(model, data.held_out)
    manifest = describe(model, files, label=order.label, data=data, metrics=metrics)
    recorded = manifest.examples
    lies = Examples(
        rows=recorded.rows, predictions=tuple(1 - float(truth) for truth in recorded.predictions)
    )
    return write(
        manifest.model_copy(update={"examples": lies}),
        files,
        output=order.output,
        force=order.force,
    )


def tampered(order: Order) -> Exported:
    """Export a good model, then change one byte of its file."""
    data = order.data()
    exported = _export(fit(data.training), data, order)
    path = exported.path / exported.manifest.model_file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return exported


KINDS: Final[dict[str, Callable[[Order], Exported]]] = {
    "failing": failing,
    "slow": slow,
    "wrong": wrong,
    "broken": broken,
    "tampered": tampered,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return 0, or 2 when the request cannot be met."""
    options = _parser().parse_args(arguments)
    order = Order(
        label=Label(name=options.name, version=options.version),
        output=options.output,
        seed=options.seed,
        share=options.share,
        force=options.force,
    )
    try:
        exported = KINDS[options.kind](order)
    except (ExistsError, ValueError, OSError) as error:
        print(f"examples.models.faulty: {error}", file=sys.stderr)
        return 2
    if options.format == "json":
        print(
            json.dumps(
                {"kind": options.kind, "path": str(exported.path), "digest": exported.digest}
            )
        )
    else:
        print(
            f"Exported a {options.kind} model\n  folder  {exported.path}\n  digest  "
            f"{exported.digest}"
        )
    return 0


def _above(data: Data, floor: float) -> Data:
    above = data.rows[:, 0] >= floor
    return Data(rows=data.rows[above], labels=data.labels[above])


def _export(model: Any, data: Split, order: Order) -> Exported:
    metrics = evaluate(model, data.held_out)
    return export_artifact(
        model, label=order.label, data=data, metrics=metrics, output=order.output, force=order.force
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.models.faulty",
        description="Export a model that a release must not keep.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--version", required=True, help="what people call this model, such as 3")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="write to DIR/<name>/<version>"
    )
    parser.add_argument("--name", default="qna", help="name of the model (default: %(default)s)")
    parser.add_argument(
        "--seed", default=9, type=int, help="which rows are drawn (default: %(default)s)"
    )
    parser.add_argument(
        "--share",
        default=FAILING_SHARE,
        type=float,
        help="share of rows that `failing` fails on (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="replace this version if it exists")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of the answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
