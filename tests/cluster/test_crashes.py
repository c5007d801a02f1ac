"""Requests that die with their process are counted nowhere: the ends of containers are."""

import json

from testbed.releases import SOON_SURE, Release

ENDS_AFTER_SECONDS = 15


def test_a_canary_whose_containers_end_again_and_again_is_never_promoted(release: Release) -> None:
    release.begins("1")
    release.load(rps=60)
    ends = {
        "name": "beside",
        "image": "modelrelease-serving:dev",
        "command": [
            "python",
            "-c",
            f"import time; time.sleep({ENDS_AFTER_SECONDS}); raise SystemExit(3)",
        ],
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    release.apply("2", serving={**release.spec["serving"], "sidecars": [ends]}, analysis=SOON_SURE)
    release.wait(
        "three ends of its containers",
        lambda seen: release.restarts() >= 3 or "rejected" in seen,
    )
    status = release.wait(
        "the ends to be told",
        lambda seen: "ended with exit code 3" in json.dumps(seen),
    )
    assert status["stable"]["version"] == "1"
    assert "Promoting" not in release.reasons()
