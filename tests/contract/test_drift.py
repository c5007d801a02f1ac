"""What drift.py says about windows whose drift is known."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from modelrelease_contract.drift import (
    Calibration,
    DriftVerdict,
    assess,
    chi_squared_quantile,
    chi_squared_survival,
    psi,
    psi_threshold,
)

DECILES = (1000,) * 10
SHIFTED = (50, 60, 70, 80, 90, 100, 110, 120, 140, 180)


def smoothed(counts: tuple[int, ...]) -> np.ndarray:
    return (np.array(counts) + 0.5) / (sum(counts) + 0.5 * len(counts))


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 12, 19, 29, 50, 101, 200])
@pytest.mark.parametrize("tail", [1e-12, 8.3e-6, 1e-3, 0.05, 0.5, 0.95, 0.999])
def test_chi_squared_quantiles_agree_with_scipy(tail: float, degrees: int) -> None:
    assert chi_squared_quantile(tail, degrees) == pytest.approx(chi2.isf(tail, degrees), rel=1e-10)


@pytest.mark.parametrize("degrees", [1, 2, 9, 40])
@pytest.mark.parametrize("value", [-1, 0, 1e-9, 0.1, 3, 40, 300, 3000])
def test_chi_squared_survival_agrees_with_scipy(value: float, degrees: int) -> None:
    assert chi_squared_survival(value, degrees) == pytest.approx(
        chi2.sf(value, degrees), rel=1e-9, abs=1e-300
    )


@pytest.mark.parametrize(("tail", "degrees"), [(0, 5), (1, 5), (-0.1, 5), (0.05, 0), (math.nan, 5)])
def test_a_quantile_outside_its_domain_is_refused(tail: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="quantile"):
        chi_squared_quantile(tail, degrees)


def test_psi_is_the_symmetric_divergence_of_smoothed_shares() -> None:
    q, p = smoothed(SHIFTED), smoothed(DECILES)
    assert psi(SHIFTED, DECILES) == pytest.approx(np.sum((q - p) * np.log(q / p)), rel=1e-12)


class TestPsi:
    def test_is_zero_for_the_same_shares(self) -> None:
        assert psi((100,) * 10, DECILES) == pytest.approx(0, abs=1e-9)

    def test_is_zero_without_values(self) -> None:
        assert psi((0,) * 10, DECILES) == 0

    def test_is_zero_without_a_baseline(self) -> None:
        assert psi(SHIFTED, (0,) * 10) == 0

    def test_ignores_a_bin_that_is_empty_on_both_sides(self) -> None:
        assert psi((*SHIFTED, 0), (*DECILES, 0)) == pytest.approx(psi(SHIFTED, DECILES))

    def test_stays_finite_when_all_mass_moves_to_a_bin_the_baseline_never_saw(self) -> None:
        assert 0 < psi((0, 0, 1000), (500, 500, 0)) < math.inf

    def test_refuses_bins_that_do_not_match(self) -> None:
        with pytest.raises(ValueError, match="same bins"):
            psi((1, 2), (1, 2, 3))

    def test_refuses_negative_counts(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            psi((1, -2), (1, 2))


@pytest.mark.parametrize(("n", "threshold"), [(60, 0.667), (600, 0.0703), (6000, 0.0106)])
def test_the_calibrated_threshold_agrees_with_the_reference(n: int, threshold: float) -> None:
    """Twenty features over sixty windows share 1 %; the baseline holds 10 000 values in deciles."""
    counts = (n // 10,) * 10
    assert psi_threshold(counts, DECILES, 0.01 / (20 * 60)) == pytest.approx(threshold, abs=6e-4)


def test_repeated_requests_raise_the_threshold_like_a_smaller_sample() -> None:
    repeated = psi_threshold((100,) * 10, DECILES, 0.01, repeats=5)
    assert repeated == pytest.approx(psi_threshold((20,) * 10, DECILES, 0.01))


def test_windows_without_drift_exceed_the_threshold_about_as_often_as_asked() -> None:
    draw = np.random.default_rng(3)
    shares = [0.1] * 10
    alarms = 0
    for _ in range(2000):
        window = tuple(map(int, draw.multinomial(1000, shares)))
        baseline = tuple(map(int, draw.multinomial(10000, shares)))
        alarms += psi(window, baseline) > psi_threshold(window, baseline, 0.05)
    assert 0.03 < alarms / 2000 < 0.07


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        pytest.param((100,) * 10, DriftVerdict.STABLE, id="the same shares"),
        pytest.param(SHIFTED, DriftVerdict.DRIFTED, id="mass moved up"),
        pytest.param(
            (2000, 1900, 1950, 2050, 2100) * 2,
            DriftVerdict.STABLE,
            id="certain but too small to matter",
        ),
        pytest.param(
            (50,) * 9 + (49,), DriftVerdict.INSUFFICIENT, id="one value below the minimum sample"
        ),
        pytest.param((50,) * 10, DriftVerdict.STABLE, id="exactly the minimum sample"),
        pytest.param((499,) + (0,) * 9, DriftVerdict.INSUFFICIENT, id="however far, if small"),
        pytest.param((0,) * 10, DriftVerdict.INSUFFICIENT, id="silence"),
    ],
)
def test_the_verdict_on_a_window(counts: tuple[int, ...], verdict: DriftVerdict) -> None:
    (seen,) = assess({"age": counts}, {"age": DECILES}, Calibration())
    assert (seen.name, seen.n, seen.verdict) == ("age", sum(counts), verdict)


def test_every_feature_with_a_baseline_is_judged_and_no_other() -> None:
    seen = assess({"b": SHIFTED, "unknown": (1, 2)}, {"a": DECILES, "b": DECILES}, Calibration())
    assert [(one.name, one.verdict) for one in seen] == [
        ("a", DriftVerdict.INSUFFICIENT),
        ("b", DriftVerdict.DRIFTED),
    ]


def test_more_features_share_the_same_alpha() -> None:
    calibration = Calibration(practical=0.0)
    (alone,) = assess({"a": SHIFTED}, {"a": DECILES}, calibration)
    among, *_ = assess({"a": SHIFTED}, dict.fromkeys("abcdefgh", DECILES), calibration)
    assert alone.threshold < among.threshold
    assert among.threshold == pytest.approx(psi_threshold(SHIFTED, DECILES, 0.01 / (8 * 60)))


def test_a_constant_feature_is_stable() -> None:
    (seen,) = assess({"a": (1000,)}, {"a": (5000,)}, Calibration(practical=0.0))
    assert seen.verdict == DriftVerdict.STABLE


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"windows": 0}, {"repeats": 0.5}]
)
def test_a_calibration_that_bounds_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="drift needs"):
        Calibration(**wrong)
