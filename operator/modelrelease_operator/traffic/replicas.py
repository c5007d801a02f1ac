"""A split as the selector of one Service, for clusters without a gateway: the pods' numbers do the rest."""

from collections.abc import Iterable, Mapping

from modelrelease_operator.api import names


def selector_for(release: str, revisions: Iterable[str]) -> dict[str, str]:
    """Select one revision's pods, or those of every revision of the release when there are more.

    Open to more than one only while no third revision has pods; `decide` sees to that.
    """
    wanted = sorted(revisions)
    selector = {names.LABEL_RELEASE: release}
    if len(wanted) == 1:
        selector[names.LABEL_REVISION] = wanted[0]
    return selector


def routed_by(selector: Mapping[str, str], revisions: Iterable[str]) -> frozenset[str]:
    """Read a selector back: the one revision that it names, or all that exist."""
    revision = selector.get(names.LABEL_REVISION)
    return frozenset({revision}) if revision else frozenset(revisions)
