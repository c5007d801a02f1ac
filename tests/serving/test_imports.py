"""The process that answers imports the stated stack and nothing else."""

import json
import os
import subprocess
import sys
from typing import Final

import pytest

from modelrelease_training.export import Exported

STACK: Final = {"fastapi", "uvicorn", "sklearn", "joblib", "prometheus_client", "pydantic"}
BROUGHT: Final = {
    # by FastAPI and uvicorn
    "starlette", "anyio", "idna", "click", "h11", "httptools", "uvloop", "annotated_doc", "opentelemetry",
    "sniffio", "python_multipart", "multipart", "exceptiongroup",
    # by pydantic
    "pydantic_core", "pydantic_settings", "dotenv", "annotated_types", "typing_extensions",
    "typing_inspection",
    # by scikit-learn; narwhals stands for data frames, which are not imported
    "numpy", "scipy", "threadpoolctl", "narwhals",
}  # fmt: skip
OURS: Final = {"modelrelease_serving", "modelrelease_contract"}
# Other extras install these beside the predictor; scikit-learn and others look whether they can be had.
ELSEWHERE: Final = {
    "pandas", "pyarrow", "dateutil", "six", "pytz", "yaml", "httpx", "certifi", "rich", "orjson", "ujson",
    "charset_normalizer", "pydantic_extra_types",
}  # fmt: skip
NEVER: Final = {"obstore", "mlflow", "torch", "skops", "boto3", "kubernetes", "kopf", "aiohttp", "requests"}

PROGRAM: Final = """
import json, sys
from pathlib import Path

class OnlyServing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2].split(","):
            raise ModuleNotFoundError(name, name=name)

# As in an image with only the serving extra.
sys.meta_path.insert(0, OnlyServing)
from modelrelease_serving import server
from modelrelease_serving.app import create_app
from modelrelease_serving.loaders import Rules
from modelrelease_serving.model import Model
from modelrelease_serving.settings import Settings

model = Model.open(Path(sys.argv[1]), rules=Rules(allow_unpinned=True))
model.load()
create_app(model, Settings())
found = {name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}
print(json.dumps(sorted(found - sys.stdlib_module_names)))
"""


@pytest.fixture(scope="module")
def imported(artifact: Exported) -> set[str]:
    """Top-level modules of a predictor that has loaded its model, where other extras are not installed."""
    clean = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    arguments = [str(artifact.path), ",".join(sorted(ELSEWHERE))]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=clean, check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout))


def test_nothing_is_imported_beyond_the_stack(imported: set[str]) -> None:
    # Compiled parts of SciPy and of Python itself stand at the top, with an underscore.
    known = STACK | BROUGHT | OURS | {"sitecustomize"}
    assert {name for name in imported if not name.startswith("_") and name not in known} == set()


def test_neither_clouds_nor_trainers_are_imported(imported: set[str]) -> None:
    assert {"fastapi", "sklearn", "numpy"} <= imported
    assert imported & NEVER == set()
