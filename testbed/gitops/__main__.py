"""`python -m testbed.gitops`: asks the tools' own libraries again, and compares with what is
recorded; `--record` records it. It needs Go, which compiles the libraries the first time.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from testbed.gitops.situations import expressions_for_flux, script_for_argo, situations

FOLDER: Final = Path(__file__).parent
RECORDED: Final = FOLDER / "readings.json"


def asked() -> dict[str, Any]:
    """Return what the libraries are told, and the readings that they have of each situation."""
    told = situations()
    question = {
        "lua": script_for_argo(),
        "flux": expressions_for_flux(),
        "objects": list(told.values()),
    }
    done = subprocess.run(
        ["go", "run", "-mod=readonly", "."],
        cwd=FOLDER, input=json.dumps(question), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    readings = dict(zip(told, json.loads(done.stdout), strict=True))
    return {"lua": question["lua"], "flux": question["flux"], "objects": told, "readings": readings}


def main() -> int:
    """Compare, or record. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed.gitops", description=__doc__)
    parser.add_argument("--record", action="store_true", help="keep what the libraries say")
    record = parser.parse_args().record
    found = asked()
    if record:
        RECORDED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    known = json.loads(RECORDED.read_text())
    width = max(map(len, found["readings"]))
    for name, reading in found["readings"].items():
        said = "  ".join(f"{tool} {word}" for tool, word in reading.items())
        sys.stdout.write(f"{name:{width}}  {said}\n")
    before = known["readings"]
    wrong = [name for name, said in found["readings"].items() if said != before.get(name)]
    if wrong:
        sys.stderr.write(f"recorded otherwise: {', '.join(wrong)}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
