"""Upgrade the operator in the middle of releases, from an earlier commit to this, and back.

Releases stand at different points of their way when the chart of the other commit is installed
over the one that is there. No pod may come, go or restart, no weight may move and no user may be
sent elsewhere while the operator changes; after it each release ends as it would have.
"""

import argparse
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

from benchmarks.chaos.killed import holder
from benchmarks.chaos.trials import side_by_side
from benchmarks.cluster import STORE_SPACE
from benchmarks.doc_markers import put
from benchmarks.rollouts import models
from benchmarks.rollouts.api import Api
from benchmarks.rollouts.figures import failures
from benchmarks.upgrade.seen import RELEASE, Object, Row, Seen, as_markdown, differences, seen
from benchmarks.upgrade.stories import STORIES, Story
from cluster import Cluster, ClusterError, cluster_for, shell
from cluster.imageset import REPOSITORY
from cluster.progress import say, step
from examples import fixtures
from examples.waiting import NotSeenError, wait_until
from testbed.releases import FAST, Release

Install = Callable[[], None]
THIS: Final = "this"
WATCHED_SECONDS: Final = 30
"""So long the other operator acts before the releases go on: ten looks of a canary."""
STILL_SECONDS: Final = 6
"""So long nothing may move before the change."""
NAMES: Final = tuple(story.name for story in STORIES)
_EXAMPLES: Final = """\
examples:
  from the commit before, and back to it:
    python -m benchmarks.upgrade --from HEAD~1

  two releases, one way, and the cluster stays for a look:
    python -m benchmarks.upgrade --from v0.1.0 --only midway asked --ways up --keep

Ends with 1 when something moved, ended otherwise than it must, or a request failed.
"""


class Watch:
    """Looks at every release once a second, in a thread of its own."""

    def __init__(self, api: Api, spaces: Sequence[str]) -> None:
        self.api = api
        self.looks: dict[str, list[Seen]] = {space: [] for space in spaces}

    def look(self) -> dict[str, Seen]:
        """Return every release as it is."""
        label = RELEASE.replace("/", "%2F")
        pods = self.api.object(f"/api/v1/pods?labelSelector={label}")["items"]
        slices = self.api.object(
            "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dqna"
        )["items"]
        releases = self.api.object("/apis/modelrelease.dev/v1alpha1/modelreleases")["items"]
        return {
            space: seen(_of(releases, space)[0], _of(pods, space), _of(slices, space))
            for space in self.looks
        }

    def keep(self, over: Event) -> None:
        """Look until it is over."""
        while not over.is_set():
            for space, look in self.look().items():
                self.looks[space].append(look)
            over.wait(1)

    def still(self) -> None:
        """Wait until nothing has moved for a while."""
        last, since = self.look(), time.monotonic()

        def quiet_for(latest: dict[str, Seen]) -> bool:
            nonlocal last, since
            if latest != last:
                last, since = latest, time.monotonic()
            return time.monotonic() - since >= STILL_SECONDS

        wait_until("nothing to move", self.look, quiet_for, within=120, every=1)


def _of(items: list[Object], space: str) -> list[Object]:
    return [each for each in items if each["metadata"]["namespace"] == space]


@contextmanager
def checked_out(revision: str) -> Iterator[tuple[Path, str]]:
    """Yield the files of a commit, in a folder that goes, and the commit's short name."""
    mark = shell.output(
        ["git", "-C", REPOSITORY, "rev-parse", "--short=7", f"{revision}^{{commit}}"]
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "commit.tar"
        shell.run(["git", "-C", REPOSITORY, "archive", "--output", archive, mark])
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "files", filter="data")
        yield folder / "files", mark


class Change:
    """One way: releases that begin under one operator, and end under another."""

    def __init__(self, cluster: Cluster, title: str, stories: Sequence[Story]) -> None:
        self.cluster, self.title, self.stories = cluster, title, stories
        self.api = Api(kubeconfig=cluster.kubeconfig)
        self.over = Event()
        self.releases = {
            story.name: Release(
                cluster=cluster, space=f"upgrade-{story.name}", store=STORE_SPACE, spec=dict(FAST)
            )
            for story in stories
        }

    def run(self, install: Install) -> list[Row]:
        """Bring the releases to where they are to be, install, and see how each ends."""
        self._begin()
        watch = Watch(self.api, [release.space for release in self.releases.values()])
        watch.still()
        before, counts = watch.look(), self._counts()
        say(f"{self.title}: all releases stand; the other operator comes")
        self._while_watched(watch, install)
        ends: dict[str, str] = {}
        side_by_side(self.over, *(partial(self._finish, story, ends) for story in self.stories))
        rows = [self._row(story, watch, before, counts, ends) for story in self.stories]
        for release in self.releases.values():
            self.cluster.kubectl("delete", "namespace", release.space, "--wait=false")
        return rows

    def _begin(self) -> None:
        for release in self.releases.values():
            gone = ("--ignore-not-found", "--wait", "--timeout=300s")
            self.cluster.kubectl("delete", "namespace", release.space, *gone)
            fixtures.apply(self.cluster, fixtures.namespace(release.space))
        for late in (False, True):
            jobs = [
                partial(story.reach, self.releases[story.name])
                for story in self.stories
                if story.late is late
            ]
            if jobs:
                side_by_side(self.over, *jobs)

    def _while_watched(self, watch: Watch, install: Install) -> None:
        over, first = Event(), holder(self.api)

        def change() -> None:
            try:
                install()
                wait_until(
                    "another operator to act",
                    partial(holder, self.api),
                    lambda who: who not in ("", first),
                    within=120,
                )
                time.sleep(WATCHED_SECONDS)
            finally:
                over.set()

        side_by_side(self.over, partial(watch.keep, over), change)

    def _finish(self, story: Story, ends: dict[str, str]) -> None:
        try:
            story.finish(self.releases[story.name])
        except NotSeenError as error:
            say(f"{self.title}: {story.name} did not end as it must: {error}")
            status = self.releases[story.name].status()
            ends[story.name] = f"{status.get('phase')}: {status.get('message')}"
        else:
            ends[story.name] = story.ends

    def _counts(self) -> dict[str, dict[tuple[str, str], int]]:
        # Clients that come later count from nothing.
        return {
            name: {} if name == "failing" else dict(self.api.counts(release.space))
            for name, release in self.releases.items()
        }

    def _row(
        self,
        story: Story,
        watch: Watch,
        before: dict[str, Seen],
        counts: dict[str, dict[tuple[str, str], int]],
        ends: dict[str, str],
    ) -> Row:
        space = self.releases[story.name].space
        moved = dict.fromkeys(
            words for look in watch.looks[space] for words in differences(before[space], look)
        )
        after = self.api.counts(space)
        return Row(
            change=self.title,
            story=story.stands,
            looks=len(watch.looks[space]),
            moved=tuple(moved),
            ended=ends[story.name],
            as_expected=ends[story.name] == story.ends,
            requests=sum(after.values()) - sum(counts[story.name].values()),
            failed=failures(counts[story.name], after, except_by=models.FAILING),
        )


def measured(options: argparse.Namespace) -> list[Row]:
    """Change the operator each way that is asked for."""
    stories = [story for story in STORIES if story.name in options.only]
    cluster = cluster_for(options.cluster)
    rows: list[Row] = []
    try:
        with (
            checked_out(options.revision) as (files, mark),
            tempfile.TemporaryDirectory() as folder,
        ):
            other: Install = partial(cluster.install_operator_of, files, mark)
            ways: dict[str, tuple[str, Install, Install]] = {
                "up": (f"{mark} → {THIS}", other, cluster.install_operator),
                "down": (f"{THIS} → {mark}", cluster.install_operator, other),
            }
            cluster.up()
            cluster.require_ours()
            cluster.build_images()
            good = (models.OLD, models.HEALTHY)
            models.stocked(cluster, Path(folder), good=good, failing=(models.FAILING,))
            for way in options.ways:
                title, first, then = ways[way]
                with step(f"{title}: installing what is there before"):
                    first()
                rows += Change(cluster, title, stories).run(then)
    finally:
        if not options.keep:
            cluster.down()
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Change, watch and print; 1 when something was not as it must be."""
    options = _parser().parse_args(arguments)
    try:
        rows = measured(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(as_markdown(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if options.into:
        put(options.into, as_markdown(rows), mark="upgrade")
    return 1 if any(row.missed for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.upgrade",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--from", dest="revision", required=True, metavar="REVISION", help="the earlier commit")
    option(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME",
        help=f"these releases, not all of them: {', '.join(NAMES)}",
    )  # fmt: skip
    option("--ways", nargs="+", choices=["up", "down"], default=["up", "down"],
           help="up: from there to this; down: back (default: both)")  # fmt: skip
    option("--cluster", default="upgrade", help="name of the cluster (default: upgrade)")
    option("--keep", action="store_true", help="leave the cluster up")
    option("--json", type=Path, metavar="FILE", help="write all that was seen")
    option("--into", type=Path, metavar="FILE", help="put the table between the marks of a file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
