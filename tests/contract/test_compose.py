"""compose.yaml names files that exist, pins what it pulls, and runs everything with as few rights
as it can.

No engine is needed for this. CONTRIBUTING.md says how the whole was started.
"""

from pathlib import Path

import pytest
import yaml

from modelrelease_serving.settings import variables

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_that_it_does_not_need(name: str):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service.get("user") != "0:0" or service["cap_add"] == ["CHOWN"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_is_made_of_is_pinned_or_ours(name: str):
    service = SERVICES[name]
    if "build" in service:
        assert (ROOT / service["build"]["dockerfile"]).is_file()
    else:
        tag = service["image"].rpartition(":")[2]
        assert tag[0] == "v" or tag[0].isdigit()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_reached_from_this_machine_only(name: str):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_every_file_and_volume_that_is_mounted_exists():
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            theirs = source.startswith("${")
            ours = (
                (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            )
            assert theirs or ours, mount


def test_the_predictor_knows_every_variable_that_it_is_given():
    assert set(SERVICES["api"]["environment"]) <= set(variables())


def test_the_model_is_registered_with_an_mlflow_that_answers():
    train, mlflow = SERVICES["train"], SERVICES["mlflow"]
    assert "--register" in train["command"]
    assert train["depends_on"]["mlflow"] == {"condition": "service_healthy"}
    assert "http://localhost:5000/health" in mlflow["healthcheck"]["test"][-1]
