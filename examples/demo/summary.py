"""What is left to say at the end: outcomes, and what happened to users."""

from collections.abc import Sequence

from examples.demo.scenario import Scenario, StageResult


def summarise(scenario: Scenario, results: Sequence[StageResult], *, elapsed: float) -> int:
    """Print the outcome of every version and what users met; return the exit code."""
    stats = scenario.stats()
    show = scenario.console.print
    show("\n== What was decided\n", style="bold")
    for result in results:
        verdict = "promoted" if result.promoted else "rolled back"
        mark = "" if result.as_expected else ", which is WRONG"
        stage = result.stage
        show(
            f"version {stage.version} ({stage.description}): {verdict} after "
            f"{result.seconds:.0f} s{mark}\n"
            f"   {result.sentence}\n"
            f"   {result.answered_by_canary:,} answers until then, {result.bad_answers:,} of "
            "them bad",
            highlight=False,
            soft_wrap=True,
        )
    failing = tuple(result.stage.version for result in results if not result.stage.promoted)
    lost = stats.failures(except_by=failing)
    bad_answers = sum(result.bad_answers for result in results if result.stage.version in failing)
    show("\n== What happened to users\n", style="bold")
    show(
        f"Users sent {stats.sent:,} requests; {stats.answered:,} were answered so far.",
        highlight=False,
    )
    show(
        f"Bad answers given by faulty versions before they were rolled back: {bad_answers}",
        highlight=False,
    )
    show(f"Requests lost because of a release: {sum(lost.values())}", highlight=False)
    for failure, count in lost.items():
        show(f"   {count} x {failure}", highlight=False)
    as_expected = all(result.as_expected for result in results)
    _what_next(scenario, elapsed)
    if not as_expected or lost:
        show("\nThis is not how it should have ended.", style="bold red")
        return 1
    return 0


def _what_next(scenario: Scenario, elapsed: float) -> None:
    kubeconfig = scenario.cluster.kubeconfig
    print(
        f"""
The whole took {elapsed:.0f} s. The cluster is still up, with its clients calling. Look around:

  export KUBECONFIG={kubeconfig}
  kubectl get modelreleases -n {scenario.space} -o wide
  kubectl describe modelrelease {scenario.model} -n {scenario.space}
  kubectl get events -n {scenario.space} --field-selector involvedObject.kind=ModelRelease

Remove everything again:  make cluster-down NAME=demo"""
    )
