"""The process that answers imports the stated stack and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from modelrelease_training.export import Exported

STACK: Final = {"fastapi", "uvicorn", "sklearn", "joblib", "prometheus_client", "pydantic"}
BROUGHT: Final = {
    # by FastAPI and uvicorn
    "starlette", "anyio", "idna", "click", "h11", "httptools", "uvloop", "annotated_doc",
    "opentelemetry",
    "sniffio", "python_multipart", "multipart", "exceptiongroup",
    # by pydantic
    "pydantic_core", "pydantic_settings", "dotenv", "annotated_types", "typing_extensions",
    "typing_inspection",
    # by scikit-learn; narwhals stands for data frames, which are not imported
    "numpy", "scipy", "threadpoolctl", "narwhals",
}  # fmt: skip
OURS: Final = {"modelrelease_serving", "modelrelease_contract"}
NEVER: Final = {
    "obstore",
    "mlflow",
    "torch",
    "skops",
    "boto3",
    "kubernetes",
    "kopf",
    "aiohttp",
    "requests",
}
ROOT: Final = Path(__file__).parents[2]

PROGRAM: Final = """
import asyncio, json, sys
from pathlib import Path

from modelrelease_serving import server
from modelrelease_serving.app import create_app
from modelrelease_serving.loaders import Rules
from modelrelease_serving.model import Model
from modelrelease_serving.settings import Settings

model = Model.open(Path(sys.argv[1]), rules=Rules(allow_unpinned=True))
model.load()
app = create_app(model, Settings())
answer = []

async def receive():
    body = json.dumps({"features": model.manifest.examples.rows[0]}).encode()
    return {"type": "http.request", "body": body, "more_body": False}

async def send(message):
    answer.append(message)

asyncio.run(app({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send))
found = {name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}
print(json.dumps({"status": answer[0]["status"], "modules": sorted(found - sys.stdlib_module_names)}))
"""  # noqa: E501


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with what the `serving` extra's lock file holds, and nothing else."""
    folder = tmp_path_factory.mktemp("only-serving")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin/python"),
        "install",
        "--quiet",
    ]
    subprocess.run([*install, "--require-hashes", "-r", ROOT / "locks" / "serving.txt"], check=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def imported(artifact: Exported, python: Path) -> set[str]:
    """Top-level modules of a predictor that has answered a request."""
    clean = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    ours = os.pathsep.join(str(ROOT / folder) for folder in ("serving", "contract"))
    done = subprocess.run(
        [python, "-c", PROGRAM, artifact.path],
        env=clean | {"PYTHONPATH": ours},
        check=True,
        capture_output=True,
        text=True,
    )
    seen = json.loads(done.stdout)
    assert seen["status"] == 200
    return set(seen["modules"])


def test_nothing_is_imported_beyond_the_stack(imported: set[str]) -> None:
    # Compiled parts of SciPy and of Python itself stand at the top, with an underscore.
    known = STACK | BROUGHT | OURS | {"sitecustomize"}
    assert {name for name in imported if not name.startswith("_") and name not in known} == set()


def test_neither_clouds_nor_trainers_are_imported(imported: set[str]) -> None:
    assert {"fastapi", "sklearn", "numpy"} <= imported
    assert imported & NEVER == set()
