"""What is left to say at the end: outcomes, and what happened to users."""

from collections.abc import Sequence

from rich.table import Table

from examples.demo.story import Outcome, Story


def summarise(story: Story, outcomes: Sequence[Outcome], *, elapsed: float) -> int:
    """Print the outcome of every version and what users met; return the exit code."""
    stats = story.stats()
    table = Table(title="What was decided", title_justify="left", box=None, pad_edge=False)
    for name in ("version", "made to be", "decided", "after", "canary answers", "bad ones", "why"):
        table.add_column(name, overflow="fold")
    for outcome in outcomes:
        table.add_row(
            outcome.act.version,
            outcome.act.what,
            ("promoted" if outcome.promoted else "rolled back") + ("" if outcome.right else "  WRONG"),
            f"{outcome.seconds:.0f} s",
            str(outcome.answered_by_canary),
            str(outcome.bad_answers),
            outcome.sentence,
        )
    failing = tuple(outcome.act.version for outcome in outcomes if not outcome.act.promoted)
    lost = stats.failures(except_by=failing)
    bad = sum(outcome.bad_answers for outcome in outcomes if outcome.act.version in failing)
    say = story.console.print
    say()
    say(table)
    say()
    say(f"Users sent {stats.sent:,} requests; {stats.answered:,} were answered so far.", highlight=False)
    say(f"Bad answers given by faulty versions before they were rolled back: {bad}", highlight=False)
    say(f"Requests lost because of a release: {sum(lost.values())}", highlight=False)
    for what, count in lost.items():
        say(f"   {count} x {what}", highlight=False)
    right = all(outcome.right for outcome in outcomes)
    _what_next(story, elapsed)
    if not right or lost:
        say("\nThis is not how it should have ended.", style="bold red")
        return 1
    return 0


def _what_next(story: Story, elapsed: float) -> None:
    kubeconfig = story.cluster.kubeconfig
    print(
        f"""
The whole took {elapsed:.0f} s. The cluster is still up, with its clients calling. Look around:

  export KUBECONFIG={kubeconfig}
  kubectl get modelreleases -n {story.space} -o wide
  kubectl describe modelrelease {story.model} -n {story.space}
  kubectl get events -n {story.space} --field-selector involvedObject.kind=ModelRelease

Remove everything again:  make cluster-down NAME=demo"""
    )
