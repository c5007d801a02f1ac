"""Figures in words that a person on call can act on."""

from modelrelease_operator.core.measurement.indicators import ANSWER_TOKENS, Indicator
from modelrelease_operator.core.statistics.eprocess import ArmCounts


def facts(version: str, bad: str, indicator: Indicator, arms: tuple[ArmCounts, ArmCounts]) -> str:
    """Return both arms' shares, such as "canary 7 fails 2.1 % of 1,204 requests,
    stable 0.9 % of 22,800".
    """
    if not arms[0].total:
        return f"no {'probe' if indicator.probe else 'request'} of canary {version} was counted yet"
    if indicator.bin is not None:
        rows = [_share(counts, "rows") for counts in arms]
        return (
            f"canary {version} predicts in bin {indicator.bin} for {rows[0]}, stable for {rows[1]}"
        )
    shares = [_share(counts, "probes" if indicator.probe else "requests") for counts in arms]
    if indicator.canary_bound is None:
        return f"canary {version} {bad} {shares[0]}, stable {shares[1]}"
    does, over = ("has", f"{indicator.metric} over") if indicator.metric else ("takes", "over")
    canary, stable = (
        amount(indicator.metric, bound)
        for bound in (indicator.canary_bound, indicator.stable_bound)
    )
    return (
        f"canary {version} {does} {over} {canary} for {shares[0]}, stable over {stable} for "
        f"{shares[1]}"
    )


def _share(counts: ArmCounts, what: str) -> str:
    if not counts.total:
        return f"no {what} yet"
    return f"{percent(counts)} of {counts.total:,} {what}"


def percent(counts: ArmCounts) -> str:
    """Return the share that is bad in words; 0 where nothing was counted."""
    share = 100 * (counts.rate or 0.0)
    return f"{share:.1f} %" if share >= 0.1 or not counts.bad else f"{share:.2f} %"


def amount(metric: str, bound: str | None) -> str:
    """Return a bound of a histogram in words."""
    number = float(bound or 0)
    return f"{number:g}" if metric == ANSWER_TOKENS else f"{number * 1000:.3g} ms"
