"""How the code reads, in figures: lengths, branches, density, and what is typed and said.

    python -m benchmarks.structure [CHECKOUT ...]      (default: this one)

Tests are left out. Cyclomatic complexity counts if, loop, except, if-expression, comprehension and
boolean operand. A comprehension is nested when it holds another one or loops twice. Lines are those
of the file, blank ones and comments included.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
PARTS = {
    "operator": "operator",
    "of it core": "operator/modelrelease_operator/core",
    "serving": "serving",
    "training": "training",
    "contract": "contract",
    "cluster": "cluster",
}
LONG_LINE = 100
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
BRANCHES = (
    ast.If | ast.For | ast.AsyncFor | ast.While | ast.ExceptHandler | ast.IfExp | Comprehension
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Measures:
    """What is counted over the files of one part."""

    files: list[int] = field(default_factory=list)
    """Lines of each file."""
    lengths: list[int] = field(default_factory=list)
    """Lines of each function."""
    branches: list[int] = field(default_factory=list)
    """Cyclomatic complexity of each function."""
    typed: int = 0
    public: int = 0
    documented: int = 0
    comprehensions: int = 0
    nested: int = 0
    choices: int = 0
    """If-expressions."""
    long_lines: int = 0

    def add(self, text: str) -> None:
        """Take in a file."""
        lines = text.splitlines()
        self.files.append(len(lines))
        self.long_lines += sum(len(line) > LONG_LINE for line in lines)
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, Function):
                self._add_function(node)
            if isinstance(node, Comprehension):
                self._add_comprehension(node)
            self.choices += isinstance(node, ast.IfExp)

    def _add_function(self, node: Function) -> None:
        self.lengths.append((node.end_lineno or node.lineno) - node.lineno + 1)
        self.branches.append(complexity(node))
        self.typed += node.returns is not None
        if not node.name.startswith("_"):
            self.public += 1
            self.documented += ast.get_docstring(node) is not None

    def _add_comprehension(self, node: Comprehension) -> None:
        self.comprehensions += 1
        inner = (child for child in ast.walk(node) if child is not node)
        within = any(isinstance(child, Comprehension) for child in inner)
        self.nested += within or len(node.generators) > 1

    def row(self, name: str) -> str:
        """Return the figures as a line of a Markdown table."""
        lines = sum(self.files)
        density = [
            1000 * count / lines for count in (self.comprehensions, self.nested, self.choices)
        ]
        return " | ".join(
            [
                f"| {name}",
                f"{median(self.lengths):.0f} / {tenth(self.lengths)} / {max(self.lengths)}",
                f"{tenth(self.branches)} / {max(self.branches)}",
                f"{median(self.files):.0f} / {max(self.files)}",
                f"{100 * self.typed / len(self.lengths):.0f} %",
                f"{100 * self.documented / max(1, self.public):.0f} %",
                f"{density[0]:.0f} / {density[1]:.1f} / {density[2]:.0f}",
                f"{100 * self.long_lines / lines:.1f} % |",
            ]
        )


def complexity(function: Function) -> int:
    """Return a function's cyclomatic complexity, with those of what it defines inside."""
    count = 1
    for node in ast.walk(function):
        count += isinstance(node, BRANCHES)
        if isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
    return count


def tenth(values: list[int]) -> int:
    """Return the value that nine of ten do not exceed."""
    return sorted(values)[int(0.9 * (len(values) - 1))]


def sources(folder: Path) -> Iterator[Path]:
    """Yield a part's Python files."""
    yield from sorted(path for path in folder.rglob("*.py") if ".venv" not in path.parts)


def main(roots: list[str]) -> int:
    """Print one table for each checkout."""
    for root in map(Path, roots or [str(ROOT)]):
        print(
            (
                "| | functions: median / p90 / max lines | complexity: p90 / max | files: median / "
                "max lines | "
            ),
            end="",
        )
        print(
            (
                "return types | public docstrings | per 1,000 lines: comprehensions / nested / "
                "if-expressions | "
            ),
            end="",
        )
        print(f"lines > {LONG_LINE} |\n|---|---|---|---|---|---|---|---|")
        for name, folder in PARTS.items():
            if not (root / folder).is_dir():
                continue
            measures = Measures()
            for path in sources(root / folder):
                measures.add(path.read_text())
            print(measures.row(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
