"""`modelrelease doctor`: look at the cluster and at each release, and say what is wrong."""

import argparse
import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from modelrelease_operator.cli.common import (
    Commands,
    add_output,
    add_place,
    command,
    indented,
    one_line,
    table,
    written,
)
from modelrelease_operator.cli.login import add_login, credentials_of
from modelrelease_operator.core.checkup.finding import Finding, Result
from modelrelease_operator.errors import Invalid, ReleaseError

if TYPE_CHECKING:
    from modelrelease_operator.runtime.as_user import AsUser

DETAILS = """\
Looks with your kubeconfig and your rights, and changes nothing. What you may
not see, or cannot reach from here, is "could not look" and never "ok".

exit codes:
  0  nothing is wrong
  1  something is

examples:
  modelrelease doctor -n prod
  modelrelease doctor -A -o json
  kubectl port-forward -n monitoring svc/prometheus 9090 &
  modelrelease doctor -n prod --prometheus http://localhost:9090
"""
AT_ONCE: Final = 8
"""Releases that are looked at together."""
PLURALS: Final = {
    Result.WRONG: "{} wrong",
    Result.WARNING: "{} to be warned of",
    Result.UNSEEN: "{} not looked at",
    Result.OK: "{} ok",
}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(
        commands, "doctor", "look at the cluster and say what is wrong and what to do", DETAILS
    )
    add_place(parser)
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", help="releases of all namespaces"
    )
    parser.add_argument(
        "--lease-namespace", default="kube-system", metavar="NAMESPACE",
        help="where the operator keeps its Lease (default: kube-system)",
    )  # fmt: skip
    parser.add_argument(
        "--prometheus", metavar="URL",
        help="ask this server, as reached from here (default: the one that a release names, "
        "without a login)",
    )  # fmt: skip
    add_login(parser)
    add_output(parser)
    parser.set_defaults(run=_doctor)


def _doctor(parsed: argparse.Namespace) -> int:
    if (parsed.token_file or parsed.user) and not parsed.prometheus:
        # Whoever may write a release names a server there, and would be sent the login.
        msg = "a login is shown only to the server that --prometheus names"
        raise Invalid(msg)
    # What the operator logs is in the findings.
    logging.getLogger("modelrelease").addHandler(logging.NullHandler())
    findings = asyncio.run(_looked(parsed))
    if parsed.output == "text":
        print(as_text(findings))
    else:
        print(written([_as_json(finding) for finding in findings], parsed.output))
    return 1 if any(finding.result is Result.WRONG for finding in findings) else 0


async def _looked(parsed: argparse.Namespace) -> list[Finding]:
    # Only this needs a client.
    from modelrelease_operator.runtime.as_user import as_user  # noqa: PLC0415
    from modelrelease_operator.runtime.checkup.cluster import (  # noqa: PLC0415
        check_api_server,
        check_cluster,
    )

    async with as_user(parsed.namespace, parsed.context) as cluster:
        first = await check_api_server(cluster.kube)
        if first.result is Result.WRONG:
            return [first]
        namespace = None if parsed.all_namespaces else cluster.namespace
        whole, releases = await asyncio.gather(
            check_cluster(cluster.kube, namespace, parsed.lease_namespace),
            _of_releases(cluster, parsed),
        )
    return [first, *whole, *releases]


async def _of_releases(cluster: "AsUser", parsed: argparse.Namespace) -> list[Finding]:
    """Look at every release; where they cannot be listed, that is the finding."""
    from modelrelease_operator.core.checkup.finding import Subject  # noqa: PLC0415
    from modelrelease_operator.core.checkup.release import none_there  # noqa: PLC0415
    from modelrelease_operator.runtime.checkup.release import Asking, check_release  # noqa: PLC0415

    try:
        releases = await cluster.releases(everywhere=parsed.all_namespaces)
    except ReleaseError as problem:
        return [Subject("releases").unseen("releases", str(problem))]
    if not releases:
        where = "all namespaces" if parsed.all_namespaces else f"namespace {cluster.namespace}"
        return [none_there(where)]
    asking = Asking(
        kube=cluster.kube,
        prometheus=parsed.prometheus,
        credentials=credentials_of(parsed, None),
    )
    room = asyncio.Semaphore(AT_ONCE)

    async def checked(release: dict[str, Any]) -> list[Finding]:
        async with room:
            return await check_release(asking, release)

    found = await asyncio.gather(*map(checked, releases))
    return [finding for findings in found for finding in findings]


def as_text(findings: Sequence[Finding]) -> str:
    """Return a line for each check, aligned, and below it what to do where something is wrong."""
    left = frozenset({0, 1, 2})
    rows = [["", finding.result, finding.check, one_line(finding.says)] for finding in findings]
    lines = iter(table(rows, left=left | {3}).splitlines())
    parts: list[str] = []
    for about, group in groupby(findings, key=lambda finding: finding.about):
        parts += ["", about] if parts else [about]
        for finding in group:
            parts.append(next(lines))
            if finding.remedy:
                parts.append(indented(one_line(finding.remedy), first="      → ", then="        "))
    counts = Counter(finding.result for finding in findings)
    summary = [words.format(counts[result]) for result, words in PLURALS.items() if counts[result]]
    return "\n".join([*parts, "", ", ".join(summary)])


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "about": finding.about,
        "check": finding.check,
        "result": finding.result,
        "says": finding.says,
        "remedy": finding.remedy,
    }
