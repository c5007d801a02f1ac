"""What is left to say at the end: outcomes, and what happened to users."""

from collections.abc import Sequence

from examples.demo.story import Outcome, Story


def summarise(story: Story, outcomes: Sequence[Outcome], *, elapsed: float) -> int:
    """Print the outcome of every version and what users met; return the exit code."""
    stats = story.stats()
    say = story.console.print
    say("\n== What was decided\n", style="bold")
    for outcome in outcomes:
        verdict = "promoted" if outcome.promoted else "rolled back"
        wrong = "" if outcome.right else ", which is WRONG"
        act = outcome.act
        say(
            f"version {act.version} ({act.what}): {verdict} after {outcome.seconds:.0f} s{wrong}\n"
            f"   {outcome.sentence}\n"
            f"   {outcome.answered_by_canary:,} answers until then, {outcome.bad_answers:,} of "
            "them bad",
            highlight=False,
            soft_wrap=True,
        )
    failing = tuple(outcome.act.version for outcome in outcomes if not outcome.act.promoted)
    lost = stats.failures(except_by=failing)
    bad = sum(outcome.bad_answers for outcome in outcomes if outcome.act.version in failing)
    say("\n== What happened to users\n", style="bold")
    say(
        f"Users sent {stats.sent:,} requests; {stats.answered:,} were answered so far.",
        highlight=False,
    )
    say(
        f"Bad answers given by faulty versions before they were rolled back: {bad}", highlight=False
    )
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
