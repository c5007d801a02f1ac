"""Expressions of PromQL that dashboards and recording rules share.

Every function returns text, and takes what it selects as text: `$namespace` where Grafana fills in
a variable, nothing where a rule is about every release. Operators' series name a release by
`release_namespace`, predictors' by `namespace`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

RATE = "$__rate_interval"
"""Grafana's own: four scrapes at least."""
WINDOW = "$window"
LEAST_VALUES = 500
"""Values of a feature below which its index is noise: the operator's default, too."""
HALF_A_ROW = 0.5
"""Added to each bin, so that an empty one has a logarithm."""


def selector(*matchers: str) -> str:
    """Return matchers in braces, nothing where there are none."""
    given = [matcher for matcher in matchers if matcher]
    return f"{{{','.join(given)}}}" if given else ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose series are meant, and by which labels they are told apart."""

    decided: tuple[str, ...]
    """Matchers of the operator's series."""
    served: tuple[str, ...]
    """Matchers of predictors' series."""
    labels: tuple[str, ...] = ()
    """Labels that name a release in what comes out; none where there is but one."""

    def of_operator(self, metric: str, *matchers: str) -> str:
        """Return a selector of one of the operator's metrics."""
        return metric + selector(*self.decided, *matchers)

    def of_servers(self, metric: str, *matchers: str) -> str:
        """Return a selector of one of the predictors' metrics."""
        return metric + selector(*self.served, *matchers)

    def by(self, *labels: str) -> str:
        """Return a list of labels for `by` or `on`, those that name a release first."""
        return ", ".join((*self.labels, *labels))

    def revisions(self, *labels: str, track: str = "") -> str:
        """Return 1 for each revision that is on a track, or on one of them."""
        matcher = f'track="{track}"' if track else ""
        known = self.of_operator("modelrelease_revision", matcher)
        if "namespace" in self.labels:
            known = f'label_replace({known}, "namespace", "$1", "release_namespace", "(.*)")'
        return f"max by ({self.by('revision', *labels)}) ({known})"

    def tracked(self, rates: str) -> str:
        """Return rates with the track of their revision; of one that is on both, with either."""
        per, tracks = self.by("revision"), self.revisions("track")
        return f"{rates} * on ({per}) group_left (track) topk by ({per}) (1, {tracks})"


ONE = Scope(
    decided=('release_namespace="$namespace"', 'release="$release"'),
    served=('namespace="$namespace"', 'release="$release"'),
)
"""The release that a dashboard is about."""
EVERY = Scope(decided=(), served=(), labels=("namespace", "release"))
"""Each release, apart: what a rule records."""
ARM = ("track", "model_version")


def requests(scope: Scope, *matchers: str, over: str = RATE) -> str:
    """Return answered requests a second, by arm."""
    counted = f"rate({scope.of_servers('predictions_total', *matchers)}[{over}])"
    return f"sum by ({scope.by(*ARM)}) ({scope.tracked(counted)})"


def errors(scope: Scope, *, over: str = RATE) -> str:
    """Return the share of requests that were answered with 5xx, by arm; 0 to 1.

    An arm without any has no series of them, and 0 all the same.
    """
    every = requests(scope, over=over)
    failed = requests(scope, 'code=~"5.."', over=over)
    return f"({failed} or 0 * {every}) / {every}"


def latency(scope: Scope, quantile: float, *, over: str = RATE) -> str:
    """Return a quantile of the time that answers took, by arm; seconds."""
    counted = f"rate({scope.of_servers('prediction_duration_seconds_bucket')}[{over}])"
    summed = f"sum by ({scope.by(*ARM, 'le')}) ({scope.tracked(counted)})"
    return f"histogram_quantile({quantile:g}, {summed})"


def feature_psi(scope: Scope, *matchers: str, over: str = WINDOW) -> str:
    """Return the population stability index of stable's features against their baseline.

    `sum((q - p) * ln(q / p))` over bins, q and p the shares of each bin in what was counted and in
    the baseline, both with half a row added. Nothing below LEAST_VALUES values.
    """
    per = scope.by("revision", "feature")
    seen = scope.of_servers("feature_bin_total", *matchers)
    known = scope.of_servers("feature_baseline_rows", *matchers)
    counted = f"sum by ({per}, bin) (increase({seen}[{over}]))"
    baseline = f"max by ({per}, bin) ({known})"
    q, p = (_share(rows, per) for rows in (counted, baseline))
    index = f"sum by ({per}) (({q} - {p}) * ln({q} / {p}))"
    enough = f"sum by ({per}) (increase({seen}[{over}])) >= {LEAST_VALUES}"
    stable = scope.revisions(track="stable")
    both = f"{index} and on ({scope.by('revision')}) {stable} and on ({per}) {enough}"
    return f"max by ({scope.by('feature')}) ({both})"


def _share(rows: str, per: str) -> str:
    """Return the share of each bin, with half a row added to each."""
    added = f"({rows} + {HALF_A_ROW})"
    return f"({added} / on ({per}) group_left () sum by ({per}) {added})"


def one_of(metric: str, words: Sequence[str], label: str, by: Sequence[str], scope: Scope) -> str:
    """Return by which of several words a metric has 1, as its number from 1 on."""
    kept = f"max by ({', '.join(by)})"
    chosen = (scope.of_operator(metric, f'{label}="{word}"') for word in words)
    return " + ".join(f"{number} * {kept} ({each})" for number, each in enumerate(chosen, 1))
