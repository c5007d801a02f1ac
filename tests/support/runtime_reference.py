"""The part of docs/reference/serving-runtimes.md that is written from the profiles.

`python -m tests.support.runtime_reference` writes it anew.
"""

from collections.abc import Iterator
from pathlib import Path

from modelrelease_operator.serving_runtimes.predictor import LANGUAGE
from modelrelease_operator.serving_runtimes.profiles import Profile, profiles

DOCUMENT = Path(__file__).parents[2] / "docs/reference/serving-runtimes.md"
BEGIN, END = "<!-- profiles: begin -->\n", "<!-- profiles: end -->\n"
RELEASED = "a real server"
PAGES = {"recorded": "a recorded page", "from source": "a page after its source", "none": "nothing"}
NEVER_RUN = "Never run by this project: known from its source alone"


def table() -> str:
    """Return the table and one section a profile."""
    lines = [
        "| profile | server | port | errors by | latency by | tested on |",
        "|---|---|---|---|---|---|",
        *(_row(name, profile) for name, profile in profiles().items()),
    ]
    sections = (line for name, profile in profiles().items() for line in _section(name, profile))
    return "\n".join((*lines, *_language(), *sections)) + "\n"


def _language() -> Iterator[str]:
    """Yield the table of what servers of language models count."""
    yield "\n### Language models\n"
    yield f"| profile | {' | '.join(f'`{asks}`' for asks in LANGUAGE)} |"
    yield "|---|---|---|---|---|"
    for name, profile in profiles().items():
        metrics = profile.metrics
        counted = (
            metrics.time_to_first_token,
            metrics.time_per_output_token,
            metrics.answer_tokens,
            metrics.finish_reasons,
        )
        if any(counted):
            cells = (f"`{each.name}`" if each else "refused" for each in counted)
            yield f"| [`{name}`](#{name}) | {' | '.join(cells)} |"


def _row(name: str, profile: Profile) -> str:
    metrics = profile.metrics
    counters = dict.fromkeys(f"`{each.name}`" for each in metrics.requests or ())
    unit = f", in {metrics.duration.unit}" if metrics.duration and metrics.duration.unit else ""
    latency = f"`{metrics.duration.name}`{unit}" if metrics.duration else "refused"
    port = f"{profile.port}, metrics {metrics.port}" if metrics.port else f"{profile.port}"
    errors = ", ".join(counters) or "refused"
    page = RELEASED if profile.released else PAGES[profile.page]
    return f"| [`{name}`](#{name}) | {profile.title} | {port} | {errors} | {latency} | {page} |"


def _section(name: str, profile: Profile) -> Iterator[str]:
    yield f"\n### {name}\n"
    yield f"* Run: {profile.ran}." if profile.ran else f"* {NEVER_RUN}."
    for kind, reason in profile.refused.items():
        yield f"* No `{kind}` gate: {reason}."
    if path := (asked := profile.example_requests).path:
        yield f"* Example requests for `canary.shadow`: `{asked.body}` to `{path}`."
    for need in profile.needs:
        yield f"* Needs {need}."
    for trap in profile.traps:
        yield f"* Trap: {trap}."
    for source in profile.sources:
        yield f"* Source: {source}."


def parts() -> tuple[str, str, str]:
    """Return the document before, in and after what is written from the profiles."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    return before, written, after


if __name__ == "__main__":
    before, _, after = parts()
    DOCUMENT.write_text(f"{before}{BEGIN}{table()}{END}{after}")
