"""Gateway API implementations for tests: each has what its description promises."""

from string import Template
from typing import Any

import pytest
import yaml

from cluster import versions
from cluster.addons import MANIFESTS
from cluster.errors import ClusterError
from cluster.gateways import GATEWAYS, Gateway, gateway_of


def manifest_of(gateway: Gateway) -> dict[tuple[str, str], dict[str, Any]]:
    text = Template((MANIFESTS / gateway.manifest).read_text())
    objects = yaml.safe_load_all(text.safe_substitute())
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=GATEWAYS)
def test_each_has_the_gateway_and_the_address_that_it_is_called_by(gateway: Gateway):
    objects = manifest_of(gateway)
    front = objects["Gateway", gateway.parent["name"]]
    assert front["metadata"]["namespace"] == gateway.parent["namespace"]
    assert front["spec"]["gatewayClassName"] == gateway.name
    assert ("GatewayClass", gateway.name) in objects
    service = objects["Service", gateway.name]
    assert gateway.address.startswith(f"{gateway.name}.{service['metadata']['namespace']}.")
    assert [port["port"] for port in service["spec"]["ports"]] == [80]
    pod = objects["Deployment", gateway.name]["spec"]["template"]["spec"]
    assert gateway.proxy in [container["name"] for container in pod["containers"]]
    assert versions.tool(gateway.pin) in gateway.version


def test_two_can_stand_side_by_side():
    names = [
        (kind, each["metadata"].get("namespace", ""), name)
        for gateway in GATEWAYS.values()
        for (kind, name), each in manifest_of(gateway).items()
    ]
    assert len(set(names)) == len(names)


def test_one_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ClusterError, match=r"'nginx'(?s:.*)traefik, contour"):
        gateway_of("nginx")
