"""What a reader of a document types, taken from it word for word, and what it says is printed.

A block of the language `sh` is typed as it is. In one of `console`, lines behind `$ ` are typed
(`> ` goes on with them) and the others are printed. A block whose first line is a comment with the
name of a file, such as `# fit.py`, is that file. Blocks of other languages are read and no more.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TYPED: Final = ("sh", "console")
WITHIN_SECONDS: Final = 1800
"""For one block. Longer than any takes: the first cluster on a machine is compiled."""
LEFT_OUT: Final = "…"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w.-]+\.(?:py|yaml))")
ANY = re.compile(
    r"(?P<rest>…)|(?P<space>\s+)|(?P<time>\d[\d:.]*(?:ms|[smhd])(?:\d+[smhd])*\b)|(?P<number>\d[\d.,:]*\d)"
)
PATTERNS = {"rest": ".*", "space": r"\s+", "time": r"\d[\d:.]*(?:ms|[smhd])[\dsmhd]*",
            "number": r"\d[\d.,:]*"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block of a document."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name of the file that this block is, if it is one."""
        named = FILE.fullmatch(self.text.partition("\n")[0])
        return named[1] if named else None

    @property
    def commands(self) -> tuple[str, ...]:
        """What is typed: the whole block, or each command of a session."""
        if self.language not in TYPED:
            return ()
        if self.language == "sh":
            return (self.text,)
        found: list[str] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            elif line.startswith("> ") and found:
                found[-1] += f"\n{line[2:]}"
        return tuple(found)

    @property
    def printed(self) -> tuple[str, ...]:
        """What is said to be printed, line by line; a lone `…` is lines left out, or none."""
        if self.language != "console":
            return ()
        return tuple(
            line.strip()
            for line in self.text.splitlines()
            if line.strip() not in ("", LEFT_OUT) and not line.startswith(("$ ", "> "))
        )


def blocks(document: Path, root: Path) -> tuple[Block, ...]:
    """Return every fenced block of a document, in its order."""
    text = document.read_text()
    return tuple(
        Block(
            document=str(document.relative_to(root)),
            line=text.count("\n", 0, found.start()) + 1,
            language=found[1],
            text=found[2],
        )
        for found in FENCE.finditer(text)
    )


def missing(expected: tuple[str, ...], output: str) -> str | None:
    """Return the first expected line that is not printed after those before it.

    `…` stands for anything, a longer number or a time for any other, and spaces for spaces. A
    single digit, as of a version, stands for itself.
    """
    lines = (line.strip() for line in output.splitlines())
    for line in expected:
        pattern = re.compile(_pattern(line))
        if not any(pattern.fullmatch(found) for found in lines):
            return line
    return None


def _pattern(line: str) -> str:
    return "".join(_pieces(line))


def _pieces(line: str) -> Iterator[str]:
    end = 0
    for found in ANY.finditer(line):
        yield re.escape(line[end : found.start()])
        yield PATTERNS[found.lastgroup or ""]
        end = found.end()
    yield re.escape(line[end:])


class Reader:
    """A person with a shell, who types what a document says, in a folder of their own."""

    def __init__(self, folder: Path, notes: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._state = notes / "environment"
        self._state.touch()
        self._environment = {**os.environ, **environment}

    def read(self, block: Block) -> None:
        """Do what a block says, and find printed what it says is printed."""
        if block.file:
            (self.folder / block.file).write_text(block.text)
            return
        output = "".join(self._type(block, command) for command in block.commands)
        lost = missing(block.printed, output)
        assert lost is None, f"{block}: not printed: {lost}\n--- what was\n{output}"

    def _type(self, block: Block, command: str) -> str:
        """Type one command; what it exports is there for the next."""
        script = f". '{self._state}'\n{command}\nexport -p > '{self._state}'\n"
        shell = subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", script], cwd=self.folder, text=True,
            env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = shell.communicate(timeout=WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGTERM)
            output, _ = shell.communicate()
            msg = f"{block}: not done within {WITHIN_SECONDS} s: {command}\n{output}"
            raise AssertionError(msg) from None
        assert shell.returncode == 0, f"{block}: {command} ended with {shell.returncode}\n{output}"
        return output


def fresh_clone(root: Path, folder: Path) -> Path:
    """Copy what git knows of a working tree, as a clone has it, and nothing that tools left."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\0"):
        if name and (root / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name, follow_symlinks=False)
    return folder


def lend_environment(root: Path, clone: Path) -> None:
    """Give a clone the Python environment of the tests, and have make find it newer than all."""
    (clone / ".venv").symlink_to(root / ".venv")
    for name in ("pyproject.toml", "locks/dev.txt", "locks/uv.txt", "tools/setup", "tools/venv"):
        os.utime(clone / name, (0, 0))
