"""What a start of the operator imports is most of its memory: nothing heavy comes in unseen."""

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
PROGRAM: Final = """
import json, sys
import modelrelease_operator.__main__
import modelrelease_operator.runtime.handlers
found = {name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}
print(json.dumps(sorted(found - sys.stdlib_module_names)))
"""  # noqa: E501
HEAVY: Final = {
    "numpy", "scipy", "pandas", "sklearn", "pyarrow", "mlflow", "modelrelease_serving",
    "modelrelease_training", "prometheus_api_client", "fastapi", "sqlalchemy", "torch",
}  # fmt: skip
ONLY_WHERE_THEY_ARE: Final = {"google", "cryptography", "brotli", "blinker"}
"""Imported by the client, or by what it imports, where they are installed: not in the image."""


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """Top-level modules of an operator that is about to run."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout))


def test_nothing_heavy_is_imported(imported: set[str]) -> None:
    assert {"kopf", "aiohttp", "modelrelease_operator"} <= imported
    assert imported & HEAVY == set()


def test_all_that_is_imported_is_in_the_image(imported: set[str]) -> None:
    lock = (ROOT / "locks/operator.txt").read_text()
    locked = {name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    owners = packages_distributions()
    brought = {
        module: {re.sub(r"[-_.]+", "-", owner.lower()) for owner in owners.get(module, ())}
        # Compiled halves of modules stand at the top with an underscore.
        for module in imported - ONLY_WHERE_THEY_ARE
        if not module.startswith(("_", "modelrelease_"))
    }
    assert {module for module, by in brought.items() if by and not by & locked} == set()
