"""What README and tutorial have a reader type is typed by a test, or a reason says why not."""

import re
from pathlib import Path

import pytest

from tests.support import newcomer
from tests.support.walkthrough import (
    FENCE,
    Block,
    Reader,
    blocks,
    fresh_clone,
    lend_environment,
    missing,
)
from tests.test_repository import ROOT

LISTED = "docs/tutorial/README.md"
WRITTEN = """\
```console
$ cat <<END
> one
> END
one
$ false || echo "no"
no
```

```sh
export A=1
b=2
```

```python
# fit.py
print(1)
```

```yaml
spec: {}
```
"""


def block(text: str, language: str = "console") -> Block:
    return Block(document="it.md", line=1, language=language, text=text)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Block, ...]:
    (tmp_path / "it.md").write_text(WRITTEN)
    return blocks(tmp_path / "it.md", tmp_path)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    (tmp_path / "folder").mkdir()
    return Reader(tmp_path / "folder", tmp_path, {})


def test_a_session_is_what_is_typed_and_what_is_printed(written: tuple[Block, ...]):
    assert written[0].commands == ("cat <<END\none\nEND", 'false || echo "no"')
    assert written[0].printed == ("one", "no")


def test_lines_that_a_session_leaves_out_may_be_none():
    assert block("$ watch\n…\nStable\n").printed == ("Stable",)


def test_a_block_of_commands_is_typed_as_a_whole(written: tuple[Block, ...]):
    assert written[1].commands == ("export A=1\nb=2\n",)
    assert written[1].printed == ()


def test_a_block_that_is_named_is_a_file_and_any_other_is_to_be_read(written: tuple[Block, ...]):
    assert [it.file for it in written] == [None, None, "fit.py", None]
    assert [it.line for it in written] == [1, 10, 15, 20]


@pytest.mark.parametrize(
    ("expected", "output"),
    [
        ("qna   Stable   2   …", "qna  Stable  2  3  41s"),
        ("took 12s", "took 1m30s"),
        ("14:02:11 Stable", "09:00:59 Stable"),
        ("25 % of 1,200", "33 % of 981"),
        ("a.b (c)", "a.b (c)"),
    ],
)
def test_what_differs_from_run_to_run_may_differ(expected: str, output: str):
    assert missing((expected,), output) is None


@pytest.mark.parametrize(
    ("expected", "output"),
    [
        ("stable 2", "stable 3"),
        ("Stable", "Stable, nearly"),
        ("took 12s", "took long"),
        ("a.b (c)", "axb (c)"),
    ],
)
def test_what_a_reader_would_miss_is_missed(expected: str, output: str):
    assert missing((expected,), output) == expected


def test_lines_come_in_the_order_of_the_document():
    assert missing(("one", "two"), "one\nelse\ntwo\n") is None
    assert missing(("two", "one"), "one\ntwo\n") == "one"


def test_what_one_block_exports_is_there_for_the_next(reader: Reader):
    reader.read(block("export A='one two'\n", "sh"))
    reader.read(block("$ echo $A\none two\n"))


def test_a_file_is_written_as_it_stands(reader: Reader):
    reader.read(block("# fit.py\nprint(1)\n", "python"))
    reader.read(block("$ cat fit.py\n# fit.py\nprint(1)\n"))


def test_a_command_that_fails_is_told_with_its_place_and_what_it_said(reader: Reader):
    with pytest.raises(AssertionError, match=r"(?s)it\.md:1: .* ended with 3\nbad"):
        reader.read(block("echo bad; exit 3\n", "sh"))


def test_a_failure_in_the_middle_of_a_pipe_or_of_a_block_counts(reader: Reader):
    with pytest.raises(AssertionError, match="ended with 1"):
        reader.read(block("false | cat\n", "sh"))
    with pytest.raises(AssertionError, match="ended with 1"):
        reader.read(block("false\ntrue\n", "sh"))


def test_what_is_not_printed_is_told_with_what_was(reader: Reader):
    with pytest.raises(AssertionError, match=r"(?s)it\.md:1: not printed: two\n.*one"):
        reader.read(block("$ echo one\ntwo\n"))


@pytest.mark.parametrize("document", [newcomer.README, LISTED, *newcomer.LESSONS])
def test_nothing_that_is_to_be_typed_hides_from_the_newcomer(document: str):
    """Commands are in blocks of a language that is read, and not indented; `text` is an example."""
    text = (ROOT / document).read_text()
    found = blocks(ROOT / document, ROOT)
    assert re.findall(r"(?m)^ {4}.*", FENCE.sub("", text)) == []
    assert {it.language for it in found} <= {"sh", "console", "python", "yaml", "text"}
    assert text.count("\n```") == 2 * len(found), "a fence is not closed, or has no language"


@pytest.mark.parametrize("beginning", [*newcomer.NOT_TYPED, *sorted(newcomer.ALONE)])
def test_a_reason_is_of_a_block_that_there_is(beginning: str):
    found = [it for it in newcomer.of_document(newcomer.README) if it.text.startswith(beginning)]
    assert len(found) == 1


def test_every_lesson_is_followed():
    lessons = {f"docs/tutorial/{path.name}" for path in (ROOT / "docs/tutorial").glob("*.md")}
    assert lessons == {LISTED, *newcomer.LESSONS}
    assert len(newcomer.of_lessons()) > 20


def test_the_readme_does_without_a_cluster_what_it_says(tmp_path: Path):
    clone = fresh_clone(ROOT, tmp_path / "clone")
    lend_environment(ROOT, clone)
    reader = Reader(clone, tmp_path, {"PATH": f"{clone}/.venv/bin:/usr/bin:/bin"})
    done = newcomer.of_readme()
    assert len(done) == 3, [str(it) for it in done]
    for each in done:
        reader.read(each)
    assert (clone / "artifacts/qna/7/manifest.json").is_file()
