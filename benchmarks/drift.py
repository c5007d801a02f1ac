"""How often drift is found, and how often it is cried without drift, by what a column holds.

A baseline and batches are drawn from known distributions: flags at every rate, counts with many
zeros, constants, codes, heavy tails, texts of 2 to 5,000 values. The command judges each column
alone (`modelrelease-drift check`, 1 % for a batch); the operator judges all numeric ones together,
from the predictor's own counters, in two windows. Run it with `python -m benchmarks.drift`.
"""

import argparse
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from benchmarks.doc_markers import put
from modelrelease_contract import ArtifactManifest, Baseline, Examples, Feature, ModelFile
from modelrelease_operator.api.drift import Drift, DriftStatus
from modelrelease_operator.core.drift.sustained import with_windows
from modelrelease_operator.core.drift.windows import BinSample, Memory, look
from modelrelease_operator.core.observed import Window
from modelrelease_serving.bins import BinCounts
from modelrelease_training.drift import numeric

Draw = Callable[[Generator, int], Any]
"""Values of one column: an array of numbers, or a list of texts."""

SIZES: Final = ((200, 200), (1000, 1000), (5000, 5000))
"""Rows of the baseline and of a batch.
Drift is looked for at the middle one: at 200 rows a limit is wide.
"""
SEEDS: Final = 100
START: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of column, and how it drifts."""

    name: str
    clean: Draw
    shift: str
    moved: Draw

    def draw(self, generator: Generator, rows: int, *, moved: bool) -> Any:
        """Return `rows` values, of the column that drifted or of the clean one."""
        return self.moved(generator, rows) if moved else self.clean(generator, rows)


def families() -> tuple[Family, ...]:
    """Return every kind of column that is tried."""
    return (*numeric_families(), *_texts())


def numeric_families() -> tuple[Family, ...]:
    """Return those that a predictor's baseline can have."""
    return (*_flags(), *_numbers())


def _flags() -> Iterator[Family]:
    moves = (
        (0.001, 0.05),
        (0.01, 0.1),
        (0.05, 0.2),
        (0.05, 1.0),
        (0.1, 0.3),
        (0.3, 0.55),
        (0.5, 0.75),
    )
    for before, after in moves:
        name, shift = f"flag, {before:.1%} set", f"{after:.0%} set"
        yield Family(name=name, clean=_flag(before), shift=shift, moved=_flag(after))
    yield Family(name="flag, 5.0% set", clean=_flag(0.05), shift="2 for 1", moved=_flag(0.05, 2))
    yield Family(name="flag, all set", clean=_constant(1), shift="10% not", moved=_flag(0.9))


def _numbers() -> Iterator[Family]:
    for before, after in ((0.08, 0.4), (0.5, 1.2), (3, 4.5), (50, 56)):
        shift = f"mean {after:g}"
        yield Family(
            name=f"count, mean {before:g}",
            clean=_poisson(before),
            shift=shift,
            moved=_poisson(after),
        )
    for zeros in (0.6, 0.9):
        name, shift = f"amount, {zeros:.0%} zeros", "twelve times as large"
        yield Family(name=name, clean=_amount(zeros), shift=shift, moved=_amount(zeros, 12))
    yield Family(
        name="amount, 99% zeros", clean=_amount(0.99), shift="90% zeros", moved=_amount(0.9)
    )
    yield Family(name="constant", clean=_constant(3.7), shift="5% above it", moved=_some(3.7, 3.71))
    yield Family(name="constant 0", clean=_constant(0), shift="5% below it", moved=_some(0, -0.01))
    yield Family(
        name="code of 7, with gaps",
        clean=_code(7),
        shift="one fifth on a new one",
        moved=_code(7, 0.2),
    )
    yield Family(
        name="code of 12", clean=_code(12), shift="one fifth on a new one", moved=_code(12, 0.2)
    )
    yield Family(
        name="code of 40", clean=_code(40), shift="one fifth on a new one", moved=_code(40, 0.2)
    )
    yield Family(name="normal", clean=_normal(0), shift="half a deviation", moved=_normal(0.5))
    yield Family(name="Cauchy", clean=_cauchy(0), shift="one scale", moved=_cauchy(1))
    yield Family(
        name="Pareto, index 0.5", clean=_pareto(1), shift="three times as large", moved=_pareto(3)
    )
    yield Family(
        name="normal, 7% -999", clean=_sentinel(0.07), shift="none -999", moved=_sentinel(0)
    )
    yield Family(name="none missing", clean=_missing(0), shift="5% missing", moved=_missing(0.05))


def _texts() -> Iterator[Family]:
    for values in (2, 10, 50, 200, 1000, 5000):
        shift = "one fifth on a new one"
        yield Family(
            name=f"{values:,} texts", clean=_text(values), shift=shift, moved=_text(values, 0.2)
        )
    for values in (10, 200, 5000):
        name, shift = f"{values:,} texts, Zipf", "half moves to the rarer half"
        yield Family(name=name, clean=_zipf(values), shift=shift, moved=_zipf(values, 0.5))


def _flag(rate: float, value: float = 1) -> Draw:
    return lambda draw, rows: np.where(draw.random(rows) < rate, float(value), 0.0)


def _poisson(mean: float) -> Draw:
    return lambda draw, rows: draw.poisson(mean, rows).astype(float)


def _amount(zeros: float, size: float = 1) -> Draw:
    return lambda draw, rows: np.where(
        draw.random(rows) < zeros, 0.0, size * draw.lognormal(0, 1, rows)
    )


def _constant(value: float) -> Draw:
    return lambda _draw, rows: np.full(rows, float(value))


def _some(value: float, rare: float) -> Draw:
    return lambda draw, rows: np.where(draw.random(rows) < 0.05, rare, float(value))


def _code(values: int, new: float = 0) -> Draw:
    return lambda draw, rows: np.where(
        draw.random(rows) < new, 15.0, 10.0 * draw.integers(0, values, rows)
    )


def _normal(mean: float) -> Draw:
    return lambda draw, rows: draw.normal(mean, 1, rows)


def _sentinel(share: float) -> Draw:
    return lambda draw, rows: np.where(draw.random(rows) < share, -999.0, draw.normal(0, 1, rows))


def _cauchy(centre: float) -> Draw:
    return lambda draw, rows: centre + draw.standard_cauchy(rows)


def _pareto(scale: float) -> Draw:
    return lambda draw, rows: scale * draw.pareto(0.5, rows)


def _missing(share: float) -> Draw:
    return lambda draw, rows: np.where(draw.random(rows) < share, np.nan, draw.normal(0, 1, rows))


def _text(values: int, new: float = 0) -> Draw:
    def draw_texts(draw: Generator, rows: int) -> list[str]:
        numbers, drawn_new = draw.integers(0, values, rows), draw.random(rows) < new
        pairs = zip(numbers, drawn_new, strict=True)
        return ["new" if is_new else f"value {value}" for value, is_new in pairs]

    return draw_texts


def _zipf(values: int, moved: float = 0) -> Draw:
    shares = 1 / np.arange(1, values + 1)
    shares *= (1 - moved) / shares.sum()
    shares[values // 2 :] += moved / (values - values // 2)
    return lambda draw, rows: [f"value {value}" for value in draw.choice(values, rows, p=shares)]


def seeded(family: Family, seed: int, *parts: int) -> Generator:
    """Return a generator that is the same in every run."""
    return np.random.default_rng(
        [seed, zlib.crc32(f"{family.name}/{family.shift}".encode()), *parts]
    )


def alarms(family: Family, *, rows: int, batch: int, moved: bool, seeds: int = SEEDS) -> int:
    """Return in how many of `seeds` batches the command says drift."""
    alarm_count = 0
    for seed in range(seeds):
        draw = seeded(family, seed, rows, batch)
        baseline = numeric.make({"column": family.clean(draw, rows)})
        values = family.draw(draw, batch, moved=moved)
        alarm_count += bool(numeric.compare(baseline, {"column": values}).found_by)
    return alarm_count


def operated(
    families: tuple[Family, ...], *, moved: bool, seed: int, rows: int = 1000
) -> tuple[Window, DriftStatus]:
    """Return what the operator says of two windows of `rows` rows that one predictor counted."""
    draws = {str(at): (family, seeded(family, seed, 7)) for at, family in enumerate(families)}
    known_baseline = numeric.make(
        {name: family.clean(draw, rows) for name, (family, draw) in draws.items()}
    )
    predictor = BinCounts(_manifest(known_baseline), max_series=10_000)
    settings = Drift(window="10m")
    baseline = tuple(_baseline(known_baseline))
    memory = look(
        Memory(opened=START), (*baseline, *_counted(predictor)), settings=settings, now=START
    )
    for window in (1, 2):
        columns = [family.draw(draw, rows, moved=moved) for family, draw in draws.values()]
        values = np.array(columns).T
        requests = values.astype(object)
        requests[np.isnan(values)] = None
        predictor.add(requests.tolist(), [0.0] * rows)
        samples = (*baseline, *_counted(predictor))
        memory = look(memory, samples, settings=settings, now=START + window * settings.span)
    status = with_windows(DriftStatus(revision="rev1"), memory.windows, settings)
    return memory.windows[-1], status


def _manifest(baseline: Baseline) -> ArtifactManifest:
    return ArtifactManifest(
        name="m",
        version="1",
        features=tuple(Feature(name=name, nullable=True) for name in baseline.features),
        baseline=baseline,
        examples=Examples(rows=((0.0,) * len(baseline.features),), predictions=(0.0,)),
        files=(ModelFile(path="model.joblib", sha256="0" * 64, size=1),),
    )


def _counted(predictor: BinCounts) -> Iterator[BinSample]:
    for feature, label, count in predictor.features():
        yield BinSample(revision="rev1", pod="a", feature=feature, bin=label, value=count)


def _baseline(baseline: Baseline) -> Iterator[BinSample]:
    for name, bins in baseline.features.items():
        for label, rows in (*enumerate(bins.counts), ("missing", bins.missing)):
            yield BinSample(revision="rev1", pod=None, feature=name, bin=str(label), value=rows)


def by_operator(*, moved: bool, seeds: int = SEEDS) -> tuple[Mapping[str, int], int]:
    """Return in how many of `seeds` the second window names each numeric column,
    and `Drifted` is true.
    """
    kinds = numeric_families()
    named, raised = dict.fromkeys((_title(feature) for feature in kinds), 0), 0
    for seed in range(seeds):
        window, status = operated(kinds, moved=moved, seed=seed)
        for feature in window.drifted:
            named[_title(kinds[int(feature.name)])] += 1
        raised += status.drifted
    return named, raised


def _title(family: Family) -> str:
    return f"{family.name} -> {family.shift}"


def table(seeds: int) -> Iterator[str]:
    """Yield the lines of the table."""
    clean, raised = by_operator(moved=False, seeds=seeds)
    moved, raised_moved = by_operator(moved=True, seeds=seeds)
    small, middle, large = (f"{rows:,} rows" for rows, _ in SIZES)
    yield (
        f"| column | drift | clean, {small} | {middle} | {large} | drift found | operator: clean | "
        "found |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for family in families():
        calm = [
            alarms(family, rows=rows, batch=batch, moved=False, seeds=seeds)
            for rows, batch in SIZES
        ]
        rows, batch = SIZES[1]
        alarm_count = alarms(family, rows=rows, batch=batch, moved=True, seeds=seeds)
        operators = [str(figures.get(_title(family), "")) for figures in (clean, moved)]
        columns = (family.name, family.shift, *map(str, calm), str(alarm_count), *operators)
        yield f"| {' | '.join(columns)} |"
    yield (
        f"\n`Drifted` with every column clean: {raised} of {seeds}; with all moved: "
        f"{raised_moved} of {seeds}."
    )


def main() -> None:
    """Print the table, or put it into a document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help="batches a figure (default: %(default)s)"
    )
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="replace the table between its marks"
    )
    options = parser.parse_args()
    lines = []
    for line in table(options.seeds):
        print(line, flush=True)
        lines.append(line)
    if options.into:
        put(options.into, "\n".join(lines), mark="drift")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
