"""Models that a release must not keep, each wrong in one way that real models are.

Made only of parts that scikit-learn ships, so that the predictor's image needs no code of ours to
unpickle them. Nothing here is used outside demonstrations and tests.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from typing_extensions import override

from modelrelease_contract.artifact import Examples
from modelrelease_training.data import Data, Split, make_data, split
from modelrelease_training.errors import ExistsError
from modelrelease_training.evaluate import evaluate
from modelrelease_training.export import Exported, Label, describe, dump, export_artifact, write
from modelrelease_training.train import fit

FAILING_SHARE: Final = 0.1
DIFFERING_SHARE: Final = 0.01
SLOW_MEMBERS: Final = 300
"""Members of the slow ensemble: each costs a prediction about 0.08 ms."""

DOUBT: Final = 2.0
"""Half of what the log odds of `differing` are off by, where they are."""

_EPILOG = """\
kinds:
  failing   answers 500 to a share of requests: a square root meets values that it was not made for
  slow      right, and about 25 ms slower: an ensemble of many members
  differing fails as `failing` does, and answers a share of the other requests otherwise
  wrong     fast and without errors, but trained on flipped labels
  broken    does not repeat its own examples: never becomes ready
  tampered  its model file was changed after the manifest: never loaded
  dying     right, but its process ends on a share of requests, and takes those in hand with it
  dropping  right, but closes the connections of all who wait on a share of requests
  hanging   right and some milliseconds slow, but does not come back from a share of requests

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
    """Of the rows that `failing`, `dying`, `dropping` and `hanging` fail on, between 0 and 1."""
    differing_share: float = DIFFERING_SHARE
    """Of the rows that `differing` answers otherwise, between 0 and 1."""
    members: int = SLOW_MEMBERS
    force: bool = False

    def data(self) -> Split:
        """Return the data, the same for the same order."""
        return split(make_data(seed=self.seed, rows=self.rows))


def failing(order: Order) -> Exported:
    """Export a model that raises on the lowest `share` of its first feature's values, and is
    otherwise the good one of the same rows.

    A square root turns them into NaN, which the classifier refuses, as happens where training
    filters what production does not.
    """
    return _export(_with_parts(order, _root(order)), _above_floor(order), order)


def differing(order: Order) -> Exported:
    """Export the model of `failing` with a doubt of its own: where the second feature is among its
    `differing_share` highest values, it is surer of the answer 1.
    """
    model = _with_parts(order, _root(order), _high(order))
    classify = model.named_steps["classify"]
    # The sign is -1 on all rows but the highest: there the two cancel out.
    classify.coef_[0, -1] = DOUBT
    classify.intercept_ = classify.intercept_ + DOUBT
    return _export(model, _above_floor(order), order)


def _with_parts(order: Order, *parts: Any) -> Pipeline:
    """Return the good model with one feature more for each part, which counts nothing as yet."""
    good = fit(order.data().training)
    beside = [(f"part{number}", part) for number, part in enumerate(parts)]
    union = FeatureUnion([("right", good[:-1]), *beside])
    classify = deepcopy(good[-1])
    classify.coef_ = np.hstack([classify.coef_, np.zeros((1, len(parts)))])
    classify.n_features_in_ += len(parts)
    return Pipeline([("parts", union), ("classify", classify)])


def _root(order: Order) -> Pipeline:
    """Return the square root of how far the first feature is above the lowest `share`."""
    return _of_one_feature(order, 0, _floor(order), np.sqrt)


def _high(order: Order) -> Pipeline:
    """Return 1 where the second feature is among the highest, -1 elsewhere."""
    ceiling = np.quantile(_many_rows(order)[:, 1], 1 - order.differing_share)
    return _of_one_feature(order, 1, float(ceiling), np.sign)


def _of_one_feature(order: Order, place: int, least: float, function: Any) -> Pipeline:
    """Return a function of how far one feature is above a value."""
    steps = [
        ("pick", ColumnTransformer([("one", "passthrough", [place])])),
        ("shift", StandardScaler(with_std=False)),
        ("then", FunctionTransformer(function)),
    ]
    return Pipeline(steps).fit(np.full_like(order.data().training.rows[:2], least))


def _floor(order: Order) -> float:
    if not 0 < order.share < 1:
        msg = f"share must be between 0 and 1, got {order.share}"
        raise ValueError(msg)
    return float(np.quantile(_many_rows(order)[:, 0], order.share))


def _many_rows(order: Order) -> Any:
    """Return so many rows that shares of them are as asked for and not as a small sample has
    them.
    """
    return make_data(seed=order.seed, rows=50_000).rows


def _above_floor(order: Order) -> Split:
    """Return the data without the rows on which `share` says that a model fails."""
    data, floor = order.data(), _floor(order)
    return Split(training=_above(data.training, floor), held_out=_above(data.held_out, floor))


def slow(order: Order) -> Exported:
    """Export the good model with `members` of its classifier, which answer together: as right, and
    slower.
    """
    data = order.data()
    good = fit(data.training)
    ensemble = BaggingClassifier(good[-1], n_estimators=1, bootstrap=False, random_state=0)
    ensemble.fit(good[:-1].transform(data.training.rows), data.training.labels)
    ensemble.n_estimators = order.members
    ensemble.estimators_ *= order.members
    ensemble.estimators_features_ *= order.members
    return _export(Pipeline([*good.steps[:-1], ("ensemble", ensemble)]), data, order)


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
    truths = [truth for truth in recorded.predictions if isinstance(truth, float)]
    lies = Examples(rows=recorded.rows, predictions=tuple(1 - truth for truth in truths))
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


class _Mine:
    """Lets rows pass here, and is what a source says where it is unpickled."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __call__(self, rows: Any) -> Any:
        return rows

    @override
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return eval, (self._source,)


END_PROCESS: Final = "__import__('os')._exit(1)"
WAIT_A_LITTLE: Final = "__import__('time').sleep(0.005)"
WAIT_FOR_EVER: Final = "__import__('threading').Event().wait()"
DROP_CONNECTIONS: Final = (
    "(lambda kind: [each.loop.call_soon_threadsafe(each.transport.abort)"
    " for each in __import__('gc').get_objects() if isinstance(each, kind) and each.transport])"
    "(__import__('uvicorn.protocols.http.httptools_impl', fromlist=['it']).HttpToolsProtocol)"
)


def dying(order: Order) -> Exported:
    """Export a model whose process ends on the lowest `share` of its first feature's values."""
    return _with_mine(order, END_PROCESS)


def hanging(order: Order) -> Exported:
    """Export a model that does not come back from the lowest `share` of its first feature's
    values. A few milliseconds long, as models that wait for something are.
    """
    return _with_mine(order, WAIT_FOR_EVER, otherwise=WAIT_A_LITTLE)


def dropping(order: Order) -> Exported:
    """Export a model that closes all connections on the lowest `share` of its first feature's
    values: the requests are answered and counted, and nobody has the answers.
    """
    return _with_mine(order, DROP_CONNECTIONS)


def _with_mine(order: Order, act: str, *, otherwise: str = "None") -> Exported:
    floor = _floor(order)
    first = "__import__('numpy').asarray(rows, dtype=float)[:, 0]"
    source = f"lambda rows: ({act} if ({first} < {floor!r}).any() else {otherwise}, rows)[1]"
    served = _above_floor(order)
    fitted = fit(served.training)
    model = Pipeline([("mine", FunctionTransformer(_Mine(source))), ("right", fitted)])
    return _export(model, served, order)


KINDS: Final[dict[str, Callable[[Order], Exported]]] = {
    "failing": failing,
    "slow": slow,
    "differing": differing,
    "wrong": wrong,
    "broken": broken,
    "tampered": tampered,
    "dying": dying,
    "dropping": dropping,
    "hanging": hanging,
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
        help="share of rows that `failing`, `dying`, `dropping` and `hanging` fail on "
        "(default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="replace this version if it exists")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of the answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
