"""The extra `drift` brings all that the drift commands and the service import."""

import subprocess
import sys
from importlib.metadata import packages_distributions

from packaging.utils import canonicalize_name

from tests.test_repository import OF_DRIFT, OPTIONAL, needed_by, third_parties


def test_the_drift_part_imports_only_what_its_own_extra_brings() -> None:
    found = third_parties(OF_DRIFT)
    assert "sentence_transformers" in found
    for module, path in found.items():
        owners = {canonicalize_name(name) for name in packages_distributions()[module]}
        assert owners & (needed_by("drift") | OPTIONAL), (
            f"{path} imports {module}, which [drift] does not bring"
        )


def test_the_command_imports_torch_only_when_it_encodes() -> None:
    code = "import sys, modelrelease_training.drift.__main__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
