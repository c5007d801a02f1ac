"""Two clusters of different names never meet on one machine."""

from ipaddress import IPv4Network

import pytest

from cluster.errors import ClusterError
from cluster.names import SUBNETS, Subnets, checked, free_subnets, link_name, preferred_index


def test_a_name_gets_the_same_subnets_every_time():
    assert free_subnets("dev", []) == free_subnets("dev", []) == Subnets(preferred_index("dev"))


def test_the_three_names_in_use_have_subnets_of_their_own_without_looking_at_each_other():
    assert len({preferred_index(name) for name in ("dev", "demo", "tests")}) == 3


def test_a_subnet_that_the_host_routes_already_is_left_alone():
    preferred = Subnets(preferred_index("dev"))
    chosen = free_subnets("dev", [preferred.all])
    assert chosen.index == (preferred.index + 1) % SUBNETS


def test_even_a_small_route_inside_a_subnet_takes_all_of_it():
    preferred = Subnets(preferred_index("dev"))
    assert not free_subnets("dev", [IPv4Network(f"{preferred.node_ip}/32")]).all.overlaps(
        preferred.all
    )


def test_when_every_subnet_is_taken_the_error_names_the_way_out():
    with pytest.raises(ClusterError, match="python -m cluster down"):
        free_subnets("dev", [IPv4Network("10.0.0.0/8")])


@pytest.mark.parametrize("index", range(SUBNETS))
def test_node_services_and_pods_are_disjoint_parts_of_the_clusters_own_range(index):
    subnets = Subnets(index)
    node = IPv4Network(f"{subnets.host_ip}/24", strict=False)
    parts = [node, subnets.services, subnets.pods]
    assert all(part.subnet_of(subnets.all) for part in parts)
    assert not any(a.overlaps(b) for a in parts for b in parts if a is not b)


def test_dns_and_the_api_have_addresses_inside_the_range_of_services():
    subnets = Subnets(5)
    assert {subnets.dns_ip, subnets.api_service_ip} <= {
        str(address) for address in subnets.services
    }


@pytest.mark.parametrize("name", ["a", "dev", "ci-7", "a" * 20, "abcdefghijklmnopqrs0"])
def test_a_link_name_fits_into_the_kernels_fifteen_characters(name):
    assert len(link_name(checked(name))) <= 15


def test_long_names_that_begin_alike_have_different_links():
    assert link_name("abcdefghijklmnopqrs0") != link_name("abcdefghijklmnopqrs1")


@pytest.mark.parametrize(
    "name", ["", "Dev", "7up", "a_b", "a-", "-a", "a" * 21, "../x", "a b", "é"]
)
def test_a_name_that_cannot_be_a_host_name_is_refused_by_name(name):
    with pytest.raises(ClusterError) as caught:
        checked(name)
    assert repr(name) in str(caught.value)
    assert "--name" in str(caught.value)
