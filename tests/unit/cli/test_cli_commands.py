"""Planning and simulating from the command line, and what every command says of itself."""

import argparse
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrelease_operator.cli import main, parser

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples/releases").glob("*.yaml"))
STEPS = str(ROOT / "examples/releases/steps.yaml")
PAGE = (ROOT / "docs/reference/cli.md").read_text()
REQUIRED = {
    "promoted",
    "rolled_back",
    "inconclusive",
    "median_seconds",
    "median_canary_requests",
    "median_bad_answers",
}


def commands() -> dict[str, argparse.ArgumentParser]:
    (subparsers,) = (it for it in parser()._actions if isinstance(it, argparse._SubParsersAction))
    return dict(subparsers.choices)


def options() -> Iterator[tuple[str, str]]:
    for name, command in commands().items():
        for action in command._actions:
            yield from (
                (name, option) for option in action.option_strings if option not in ("-h", "--help")
            )


def section(command: str) -> str:
    found = re.search(rf"^## {command}\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found, f"docs/reference/cli.md has no section {command}"
    return found[1]


@pytest.mark.parametrize(("command", "option"), list(options()))
def test_every_option_is_documented_in_its_commands_section(command: str, option: str):
    assert f"`{option}`" in section(command)


@pytest.mark.parametrize("command", sorted(commands()))
def test_no_option_is_documented_that_does_not_exist(command: str):
    real = {option for name, option in options() if name == command}
    assert set(re.findall(r"`(--?[a-z0-9-]*[a-z])`", section(command))) <= real


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_teaches_with_an_example_of_itself(command: str):
    text = commands()[command].format_help()
    assert re.search(rf"^  .*modelrelease {command}", text, flags=re.MULTILINE)
    assert "example" in text


@pytest.mark.parametrize("command", sorted(commands()))
def test_help_fits_a_terminal(command: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = commands()[command].format_help()
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("code", ["0", "1", "2", "130"])
def test_every_exit_code_is_documented(code: str):
    assert f"| {code} |" in PAGE


RELEASE = """\
apiVersion: modelrelease.dev/v1alpha1
kind: ModelRelease
metadata: {name: qna}
spec:
  model: {uri: "https://store/qna/7"}
  analysis: ANALYSIS
"""


@pytest.mark.parametrize(
    ("analysis", "told", "every"),
    [
        ("{source: Pods}", "Looks read the pods themselves, every 5s at least", 5),
        ("{source: Pods, interval: 3s}", "Looks read the pods themselves, every 3s at least", 3),
        ("{prometheus: {url: 'http://p'}}", "Prometheus scrapes each pod every 15s\n", 15),
        ("{}", "Prometheus scrapes each pod every 15s; where the operator has none, looks", 15),
    ],
)
def test_a_plan_says_who_is_asked_for_the_metrics_and_reckons_with_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], analysis: str, told: str, every: int
):
    file = tmp_path / "release.yaml"
    file.write_text(RELEASE.replace("ANALYSIS", analysis))
    assert main(["plan", str(file), "--rps", "50"]) == 0
    assert told in capsys.readouterr().out
    assert main(["plan", str(file), "--rps", "50", "-o", "json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["read_every_seconds"] == every


def test_an_answer_is_the_same_as_yaml_and_as_json(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", STEPS, "--rps", "50", "-o", "json"]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert main(["plan", STEPS, "--rps", "50", "-o", "yaml"]) == 0
    as_yaml = capsys.readouterr().out
    assert as_yaml.startswith("name: ranker\n")
    assert yaml.safe_load(as_yaml) == as_json


def test_gates_in_promql_are_remarked_on_where_the_release_names_no_prometheus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    gate = "{gates: [{name: queue, threshold: {query: up, max: 1}}, {name: e, errorRate: {}}]}"
    file = tmp_path / "release.yaml"
    file.write_text(RELEASE.replace("ANALYSIS", gate))
    assert main(["validate", str(file)]) == 0
    assert "gates queue have queries of their own" in capsys.readouterr().err
    assert main(["plan", str(file), "--rps", "50"]) == 0
    assert "gates queue have queries of their own" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("analysis", "is_remarked"),
    [
        ("{source: Prometheus}", True),
        ('{source: Prometheus, prometheus: {url: "http://prometheus:9090"}}', False),
        ("{source: Pods}", False),
        ("{}", False),
    ],
)
def test_a_release_that_wants_a_prometheus_and_names_none_is_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], analysis: str, is_remarked: bool
):
    remark = "spec.analysis.source is Prometheus, and the release names none"
    file = tmp_path / "release.yaml"
    file.write_text(RELEASE.replace("ANALYSIS", analysis))
    assert main(["validate", str(file)]) == 0
    assert (remark in capsys.readouterr().err) is is_remarked
    assert main(["plan", str(file), "--rps", "50"]) == 0
    assert (remark in " ".join(capsys.readouterr().out.split())) is is_remarked


LOSS = "gates: [{name: errors, errorRate: {}}, {name: lost, loss: {}}]"
NEEDS = "which only Prometheus answers, and"


@pytest.mark.parametrize(
    ("analysis", "remark"),
    [
        ("{countedBy: Traefik}", f"countedBy Traefik is asked by queries, {NEEDS} the release na"),
        (f"{{{LOSS}}}", f"gates lost have queries of their own, {NEEDS} the release names none"),
        (f"{{source: Pods, {LOSS}}}", f"{NEEDS} spec.analysis.source is Pods"),
        (f'{{{LOSS}, prometheus: {{url: "http://p"}}}}', ""),
        ('{countedBy: Traefik, prometheus: {url: "http://p"}}', ""),
    ],
)
def test_what_a_gateway_counts_needs_a_prometheus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], analysis: str, remark: str
):
    routed = "canary: {routing: {gatewayAPI: {parentRefs: [{name: public}]}}}"
    file = tmp_path / "release.yaml"
    file.write_text(RELEASE.replace("ANALYSIS", f"{analysis}\n  {routed}"))
    assert main(["validate", str(file)]) == 0
    told = capsys.readouterr().err
    assert remark in told
    assert (NEEDS in told) is bool(remark)


@pytest.mark.parametrize(
    ("analysis", "why"),
    [
        ("{source: Pods}", "reads its pods (analysis.source), which keep no past"),
        ("{}", "names no Prometheus, and pods keep no past"),
        ("{countedBy: Traefik}", "has a gateway count (analysis.countedBy)"),
    ],
)
def test_a_release_without_a_prometheus_is_not_replayed_and_told_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], analysis: str, why: str
):
    file = tmp_path / "release.yaml"
    file.write_text(RELEASE.replace("ANALYSIS", analysis))
    span = ["--start", "2026-11-01T12:00:00Z", "--end", "2026-11-01T13:00:00Z"]
    assert main(["replay", str(file), *span]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("analysis", "why"),
    [
        ("{countedBy: Kong}", "Kong cannot be asked: it counts all backends of a rule as one"),
        ("{countedBy: Traefik}", "spec.analysis.countedBy needs canary.routing.gatewayAPI"),
        (
            "{gates: [{name: ttft, latency: {metric: timeToFirstToken}}]}",
            "gate ttft of kind latency with metric timeToFirstToken cannot be answered",
        ),
    ],
)
def test_what_nobody_counts_is_refused_before_it_is_applied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], analysis: str, why: str
):
    file = tmp_path / "release.yaml"
    file.write_text(RELEASE.replace("ANALYSIS", analysis))
    assert main(["validate", str(file)]) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_is_valid_and_can_be_planned(file: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["validate", str(file)]) == 0
    assert main(["plan", str(file), "--rps", "50"]) == 0
    out = capsys.readouterr().out
    table = out.split("From start to end")[0]
    assert max(map(len, table.splitlines())) <= 80


def test_a_plan_says_what_is_needed_and_what_is_caught(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", STEPS, "--rps", "20", "--stable-error-rate", "0.01"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "ranker: 20 requests a second, stable fails 1 % of them, a look every 10s\n"
    )
    assert "fails x1.5" in out
    assert "x2 (2 %)                  rolled back in step 1" in out
    assert "\n!" not in out


def test_the_documented_plan_is_the_real_one(capsys: pytest.CaptureFixture[str]):
    main(["plan", STEPS, "--rps", "20"])
    real = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    shown = section("plan").split(
        "    $ modelrelease plan examples/releases/steps.yaml --rps 20\n"
    )[1]
    lines = [line[4:].rstrip() for line in shown.splitlines() if line.startswith("    ")]
    assert lines
    assert [line for line in lines if line not in real] == []


def test_a_plan_in_json_holds_every_step_and_every_end(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", STEPS, "--rps", "0.01", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [step["effective_weight"] for step in told["steps"]] == [10.0, 50.0]
    assert [it["ratio"] for it in told["outcomes"]] == [1.0, 1.5, 2.0, 5.0]
    assert {it["end"] for it in told["outcomes"]} == {"inconclusive"}
    assert told["warnings"]


def test_what_is_never_caught_is_null_in_json(capsys: pytest.CaptureFixture[str]):
    main(["plan", STEPS, "--rps", "20", "--stable-error-rate", "0.0005", "-o", "json"])
    found = json.loads(capsys.readouterr().out)["steps"][0]["regressions"][0]
    assert (found["canary_requests"], found["seconds"], found["bad_answers"]) == (None, None, None)


def test_several_releases_are_planned_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    both = tmp_path / "both.yaml"
    both.write_text("---\n".join(file.read_text() for file in EXAMPLES))
    assert main(["plan", str(both), "--rps", "20", "-o", "json"]) == 0
    assert {it["name"] for it in json.loads(capsys.readouterr().out)} == {
        "nightly",
        "pricing",
        "qna",
        "ranker",
    }


def test_a_plan_is_read_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.stdin", io.StringIO(Path(STEPS).read_text()))
    assert main(["plan", "-", "--rps", "20"]) == 0
    assert capsys.readouterr().out.startswith("ranker: ")


def simulated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["simulate", STEPS, "--rps", "200", "--runs", "5", "-o", "json", *arguments]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_a_simulation_in_json_has_the_promised_keys(capsys: pytest.CaptureFixture[str]):
    told = simulated(capsys, "--stable-error-rate", "0.01", "--canary-error-rate", "0.05")
    assert set(told) >= REQUIRED
    assert (told["promoted"], told["rolled_back"], told["inconclusive"]) == (0, 1, 0)
    assert told["median_bad_answers"] > 0


def test_the_same_seed_gives_the_same_answer_and_another_one_another(
    capsys: pytest.CaptureFixture[str],
):
    args = ("--canary-error-rate", "0.03")
    assert simulated(capsys, *args) == simulated(capsys, *args)
    assert simulated(capsys, *args) != simulated(capsys, *args, "--seed", "2")


def test_a_slower_canary_can_be_simulated(capsys: pytest.CaptureFixture[str]):
    told = simulated(capsys, "--latency-ratio", "2", "--scrape-interval", "2s", "--onset", "1m")
    assert told["rolled_back"] == 1


def test_a_slower_scrape_makes_a_plan_and_a_simulation_longer(capsys: pytest.CaptureFixture[str]):
    def told(command: str, every: str) -> Any:
        extra = ["--scrape-interval", every, "--runs", "5"][: 2 if command == "plan" else 4]
        assert main([command, STEPS, "--rps", "200", "-o", "json", *extra]) == 0
        return json.loads(capsys.readouterr().out)

    quick, slow = (told("plan", every)["outcomes"][0]["seconds"] for every in ("5s", "2m"))
    assert quick + 2 * 100 <= slow
    quick, slow = (told("simulate", every)["median_seconds"] for every in ("5s", "2m"))
    assert quick + 2 * 60 <= slow


def test_a_plan_and_a_simulation_may_be_of_another_number_of_pods(
    capsys: pytest.CaptureFixture[str],
):
    assert main(["plan", STEPS, "--rps", "200", "--replicas", "300", "-o", "json"]) == 0
    assert [step["canary_replicas"] for step in json.loads(capsys.readouterr().out)["steps"]] == [
        33,
        300,
    ]
    assert simulated(capsys, "--replicas", "300")["promoted"] == 1
    assert simulated(capsys, "--replicas", "1", "--canary-error-rate", "0.5")["rolled_back"] == 1


def test_a_plan_counts_the_pods_that_the_releases_own_autoscaler_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "release.yaml"
    file.write_text(OWN.replace("{replicas: 2}", "{replicas: 2, autoscaling: {minReplicas: 8}}"))
    assert main(["plan", str(file), "--rps", "200", "-o", "json"]) == 0
    (step,) = json.loads(capsys.readouterr().out)["steps"]
    assert step["canary_replicas"] == 8


def test_a_simulation_says_what_convicted_the_canary(capsys: pytest.CaptureFixture[str]):
    assert (
        main(["simulate", STEPS, "--rps", "200", "--runs", "5", "--canary-error-rate", "0.1"]) == 0
    )
    out = capsys.readouterr().out
    assert "rolled back: 5 in step 1; such as\n  canary new fails " in out
    assert max(map(len, out.splitlines())) <= 80


OWN = """\
kind: ModelRelease
metadata: {name: own}
spec:
  model: {uri: "http://store/qna/7"}
  serving: {replicas: 2}
  canary: {weight: 50}
  analysis:
    gates:
      - {name: errors, errorRate: {}}
      - {name: refunds, counts: {bad: "x{r='{{revision}}'}", total: "y{r='{{revision}}'}"}}
      - {name: answers, predictions: {}}
      - {name: queue, threshold: {query: z, max: 0.5}}
      - {name: later, threshold: {query: z, max: 0.5, consecutive: 100}, dryRun: true}
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    return str(path)


def test_a_simulation_says_what_it_assumed_of_each_gate(
    own: str, capsys: pytest.CaptureFixture[str]
):
    arguments = ["simulate", own, "--rps", "200", "--runs", "3", "--gate", "queue=0.4,0.5"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert (
        "gate refunds: bad for 1 % of stable's requests, 1 % of the canary's (assumed)\n"
        "gate answers: both versions answer alike, in 10 equal bins (assumed)\n"
        "gate queue: 0.4, then 0.5 at every look\n"
        "gate later: 0.5 at every look (assumed)\n"
    ) in out
    assert "\npromoted      100.0 %" in out
    assert main([*arguments, "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["assumed"]) == 4


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["refunds=0.01:0.1"], "canary new is bad by gate refunds for "),
        (["answers=0.5"], "canary new predicts in bin "),
        (["queue=0.4,0.9"], "gate queue: 0.9 is not at most 0.5"),
    ],
)
def test_a_gate_is_given_what_a_person_expects_of_it(
    own: str, given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    arguments = [part for text in given for part in ("--gate", text)]
    assert main(["simulate", own, "--rps", "200", "--runs", "3", *arguments]) == 0
    out = capsys.readouterr().out
    assert f"rolled back: 3 in step 1; such as\n  {sentence}" in out


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("orders=1", "--gate orders=1: no such gate; it may name answers, later, queue, refunds"),
        ("errors=1", "--gate errors=1: what this gate sees follows from errors and latency"),
        ("refunds=0.1", "gate refunds has counts and takes STABLE:CANARY, two shares"),
        ("refunds=0.1:2", "must be a share between 0 and 1"),
        ("answers=much", "gate answers has predictions and takes SHIFT"),
        ("queue=0.1,nan", "gate queue has threshold and takes VALUE,VALUE,..."),
    ],
)
def test_what_a_gate_cannot_be_given_is_refused_with_what_it_takes(
    own: str, given: str, sentence: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["simulate", own, "--rps", "200", "--runs", "1", "--gate", given]) == 1
    assert sentence in capsys.readouterr().err


def test_a_plan_says_what_gates_of_ones_own_need(own: str, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", own, "--rps", "200"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "gate refunds: needs canary requests, 9151 in step 1; taken to go bad as often as" in text
    )
    assert "gate answers: needs canary requests, 124 in step 1; both versions are taken to" in text
    assert (
        "gate queue: needs 3 looks in a row, 40s after a step's first; what its query gives" in text
    )
    assert "gate later: only shown (dryRun), so nothing waits for it" in text
    assert "promoted 2m 12s" in text
    assert main(["plan", own, "--rps", "200", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["steps"][0]["healthy_canary_requests_by_gate"]) == [
        "errors",
        "refunds",
        "answers",
    ]
    assert len(told["assumed"]) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", STEPS], "--rps"),
        (["plan", STEPS, "--rps", "0"], "must be above 0"),
        (["plan", STEPS, "--rps", "many"], "must be a number, got 'many'"),
        (["plan", STEPS, "--rps", "nan"], "must be a number, got 'nan'"),
        (
            ["plan", STEPS, "--rps", "20", "--stable-error-rate", "2"],
            "must be a share between 0 and 1",
        ),
        (
            ["simulate", STEPS, "--rps", "20", "--gate", "refunds"],
            "must be NAME=VALUE with the name of a gate",
        ),
        (["simulate", STEPS, "--rps", "20", "--runs", "0"], "must be a whole number above 0"),
        (["plan", STEPS, "--rps", "20", "--replicas", "0"], "must be a whole number above 0"),
        (["plan", STEPS, "--rps", "20", "--replicas", "1001"], "must be at most 1000, got 1001"),
        (["simulate", STEPS, "--rps", "20", "--share-ratio", "101"], "must be at most 100, got"),
        (["plan", STEPS, "--rps", "20", "--scrape-interval", "0s"], "must be above 0s, got 0s"),
        (
            ["simulate", STEPS, "--rps", "20", "--onset", "soon"],
            "duration 'soon' must be numbers with units",
        ),
    ],
    ids=[
        "no traffic",
        "zero",
        "a word",
        "no number",
        "a percentage",
        "a gate without a value",
        "no runs",
        "no pods",
        "too many pods",
        "too much of a share",
        "no time between scrapes",
        "a word for a time",
    ],
)
def test_a_wrong_argument_says_what_is_right(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "simulate"])
@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        ("kind: Service\n", 2, "no ModelRelease was found in "),
        ("", 2, "no ModelRelease was found in "),
        ("{", 1, "cannot be read: "),
        (
            "kind: ModelRelease\nmetadata: {name: sick}\n",
            1,
            "ModelRelease sick: spec.model: Field required",
        ),
        (
            "kind: ModelRelease\nmetadata: sick\nspec: 7\n",
            1,
            "ModelRelease ?: spec: Input should be",
        ),
    ],
    ids=["another kind", "an empty file", "no yaml", "no spec", "nonsense"],
)
def test_a_file_that_cannot_be_used_is_named(
    command: str,
    content: str,
    code: int,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    path = tmp_path / "release.yaml"
    path.write_text(content)
    assert main([command, str(path), "--rps", "20"]) == code
    err = capsys.readouterr().err
    assert sentence in err
    assert str(path) in err


def test_latencies_that_contradict_each_other_are_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", STEPS, "--rps", "20", "--latency-p99", "0.05"]) == 1
    assert (
        "--latency-p99 must be above --latency-median, got 0.05 and 0.08" in capsys.readouterr().err
    )


def test_a_reader_that_has_seen_enough_is_no_error():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "modelrelease_operator", "plan", STEPS, "--rps", "20"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "command", [["plan", STEPS, "--rps", "9"], ["why", "-f", STEPS]], ids=["plan", "why"]
)
def test_what_works_offline_imports_no_client(command: list[str]):
    code = (
        "import sys; from modelrelease_operator.cli import main; "
        f"assert main({command!r}) == 0; "
        "heavy = {'kopf', 'kubernetes', 'aiohttp', 'prometheus_api_client'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


ROUTED = """\
kind: ModelRelease
metadata: {name: routed}
spec:
  model: {uri: "http://store/qna/7"}
  canary:
    weight: 10
    routing: {gatewayAPI: {parentRefs: [{name: public}]}}
"""


def test_a_plan_by_a_gateway_says_when_another_share_than_the_weight_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "routed.yaml"
    file.write_text(ROUTED)
    assert main(["plan", str(file), "--rps", "20"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "share: a canary that answers half of its weight is noticed after" in said
    assert "requests of both arms in step 1 (" in said
    assert main(["plan", str(file), "--rps", "20", "-o", "json"]) == 0
    (notice,) = json.loads(capsys.readouterr().out)["share_check"]
    assert notice["step"] == 1
    assert notice["requests"] > 1000


def test_a_gateway_that_deals_out_another_share_can_be_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "routed.yaml"
    file.write_text(ROUTED)
    args = ["simulate", str(file), "--rps", "50", "--runs", "2", "--share-ratio", "0.5"]
    assert main(args) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the canary 1 % and is dealt x0.5 of its weight by a gateway" in said
    assert "inconclusive: 2 in step 1" in said
    assert "at a weight of 10 %" in said


SWITCHING = """\
kind: ModelRelease
metadata: {name: switching}
spec:
  model: {uri: "http://store/qna/7"}
  canary: {weight: 100, shadow: {}, keepPrevious: 10m}
"""


def test_a_plan_of_a_switch_says_what_happens_in_the_dark_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "switching.yaml"
    file.write_text(SWITCHING)
    assert main(["plan", str(file), "--rps", "50"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "blue/green: at full strength in the dark for" in said
    assert "The version before stays warm for 10m" in said
    assert "x5 after" in said
    assert "healthy needs" not in said


SPAN = ["--start", "2026-11-01T12:00:00Z", "--end", "2026-11-01T13:00:00Z"]
ASKED = ["replay", STEPS, *SPAN, "--prometheus", "http://127.0.0.1:9"]


@pytest.mark.parametrize("tenant", ["a\nX-Evil: 1", "a b", "ä", "\x00", ""])
def test_a_tenant_that_no_header_can_hold_is_refused(
    tenant: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(["replay", STEPS, *SPAN, "--tenant", tenant])
    assert ended.value.code == 2
    assert "--tenant: must be letters, digits and signs" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["a\nX-Evil: 1", "Bearer a", "ä"])
def test_a_token_that_no_header_can_hold_is_refused_without_being_repeated(
    token: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "token"
    file.write_text(token)
    assert main([*ASKED, "--token-file", str(file)]) == 1
    said = capsys.readouterr().err
    assert "token holds no bearer token" in said
    assert token not in said
