"""A cluster of someone else's is never used by accident, and every refusal says what to do."""

import json

import pytest

from cluster import builder, cluster_for, engines, imageset, toolchain, versions
from cluster.__main__ import main
from cluster.errors import ClusterError
from cluster.names import Subnets
from cluster.native.config import Node
from cluster.providers import choose
from cluster.state import State


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch, tmp_path):
    for name in ("MODELRELEASE_CLUSTER_PROVIDER", "MODELRELEASE_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_named_context_wins_over_docker():
    assert choose("auto", "prod", "", docker=True).provider == "existing"


def test_docker_wins_over_native():
    assert choose("auto", "", "", docker=True).provider == "kind"


def test_without_docker_the_cluster_is_native():
    assert choose("auto", "", "", docker=False).provider == "native"


def test_a_cluster_that_was_made_natively_stays_native_when_docker_appears():
    assert choose("auto", "", "native", docker=True).provider == "native"


def test_the_environment_decides_where_nothing_was_asked_for(monkeypatch):
    monkeypatch.setenv("MODELRELEASE_CLUSTER_PROVIDER", "kind")
    assert choose("auto", "", "", docker=False).provider == "kind"


def test_what_was_asked_for_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("MODELRELEASE_CLUSTER_PROVIDER", "kind")
    assert choose("native", "", "", docker=False).provider == "native"


def test_the_environment_may_name_a_context(monkeypatch):
    monkeypatch.setenv("MODELRELEASE_CONTEXT", "mine")
    assert choose("auto", "", "", docker=False).context == "mine"


def test_the_reason_for_a_choice_is_given_in_words():
    assert (
        choose("auto", "", "", docker=False).reason
        == "no context was named and no Docker daemon answers"
    )


def test_an_existing_cluster_is_refused_without_a_context():
    with pytest.raises(ClusterError, match="--context NAME"):
        choose("existing", "", "", docker=False)


def test_a_context_contradicts_a_provider_that_makes_its_own_cluster():
    with pytest.raises(ClusterError, match="'prod' and provider 'native' contradict"):
        choose("native", "prod", "", docker=False)


def test_an_unknown_provider_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("MODELRELEASE_CLUSTER_PROVIDER", "minikube")
    with pytest.raises(ClusterError, match="'minikube' is none of auto, native, kind, existing"):
        choose("auto", "", "", docker=False)


def test_a_cluster_made_one_way_is_not_taken_over_another_way():
    state = State("dev")
    state.create()
    state.write("cluster", {"provider": "native", "id": "x", "context": ""})
    with pytest.raises(ClusterError, match="was made with provider 'native', not 'kind'"):
        cluster_for("dev", provider="kind")


def test_a_cluster_without_our_mark_is_not_ours():
    cluster = cluster_for("dev", provider="native")
    assert not cluster.created_by_us
    with pytest.raises(ClusterError, match="kube-system/modelrelease-cluster"):
        cluster.require_ours()


def test_kubectl_before_up_says_how_to_bring_the_cluster_up():
    with pytest.raises(ClusterError, match="python -m cluster up --name dev"):
        cluster_for("dev", provider="native").kubectl("get", "nodes")


def test_a_record_is_forgotten_together_with_its_empty_folders(tmp_path):
    state = State("dev")
    state.create()
    state.write("cluster", {"id": "x"})
    assert state.read("cluster") == {"id": "x"}
    state.remove()
    assert not (tmp_path / "state" / "modelrelease").exists()


def test_the_command_line_answers_a_bad_name_with_the_rule_and_code_2(capsys):
    assert main(["up", "--name", "Nope!"]) == 2
    assert "1 to 20 of a-z" in capsys.readouterr().err


def test_the_kubeconfig_of_no_cluster_is_an_error_on_stderr_alone(capsys):
    assert main(["kubeconfig", "--provider", "native"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "python -m cluster up" in printed.err


@pytest.mark.parametrize(
    "command",
    ["up", "prepare", "down", "status", "kubeconfig", "images", "operator", "load", "run"],
)
def test_the_help_of_every_command_has_an_example(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"Example: python -m cluster {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "path", "version"),
    [
        ("kubernetes", "k8s.io/kubernetes", f"v{versions.native('kubernetes')}"),
        ("kubernetes", "go.etcd.io/etcd/server/v3", f"v{versions.native('etcd')}"),
        ("kubernetes", "github.com/coredns/coredns", f"v{versions.native('coredns')}"),
        ("helm", "helm.sh/helm/v4", f"v{versions.tool('helm')}"),
        ("kind", "sigs.k8s.io/kind", f"v{versions.tool('kind')}"),
    ],
)
def test_the_go_modules_pin_the_versions_that_are_announced(module, path, version):
    assert f"{path} {version}" in (toolchain.MODULES / module / "go.mod").read_text()


def test_prometheus_is_announced_by_its_release_and_pinned_by_its_module():
    _, minor, patch = versions.tool("prometheus").split(".")
    pinned = f"github.com/prometheus/prometheus v0.3{minor}.{patch}"
    assert pinned in (toolchain.MODULES / "prometheus" / "go.mod").read_text()


def test_every_program_of_the_node_takes_its_files_from_the_clusters_own_folders():
    plan = json.loads(Node("dev", Subnets(5)).files()["node.json"])
    words = [
        word for part in ("first", "then") for command in plan[part].values() for word in command
    ]
    paths = [word.partition("=")[2] for word in words if word.partition("=")[2].startswith("/")]
    assert paths
    assert all(path.startswith(("/run/cluster/", "/run/bin/", "/var/lib/")) for path in paths)


def test_controllers_ask_as_often_as_kubernetes_lets_them_unless_told_otherwise():
    usual, told = (
        json.loads(Node("dev", Subnets(5), qps).files()["node.json"])["then"][
            "kube-controller-manager"
        ]
        for qps in (None, 100)
    )
    assert not [word for word in usual if "api-qps" in word]
    assert set(told) - set(usual) == {"--kube-api-qps=100", "--kube-api-burst=100"}


def test_a_cluster_whose_controllers_cannot_be_told_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(ClusterError, match="cannot be told how often to ask"):
        cluster_for("any", "kind").up(controller_qps=100)


def test_pip_inside_a_build_reads_the_authority_from_a_secret_and_never_from_the_host():
    settings = builder.pip_settings(
        {"PIP_CERT": "/host/ca.pem", "PIP_DEFAULT_TIMEOUT": "9"}, certificates=True
    )
    assert "cert = /run/secrets/ca.crt" in settings
    assert "default-timeout = 9" in settings
    assert "/host" not in settings


def test_pip_inside_a_build_is_plain_where_the_host_is_plain():
    settings = builder.pip_settings({}, certificates=False)
    assert "cert" not in settings
    assert "find-links" not in settings


def test_a_build_knows_what_the_files_of_pip_say() -> None:
    listed = ":env:.timeout='3'\nglobal.cert='/etc/corporate.pem'\ninstall.extra-index-url='\\nhttps://a.example/\\nhttps://b.example/'\n"

    variables = builder.pip_configuration(listed)

    assert variables["PIP_CERT"] == "/etc/corporate.pem"
    assert "PIP_TIMEOUT" not in variables
    settings = builder.pip_settings(variables, certificates=False)
    assert "extra-index-url = https://a.example/ https://b.example/" in settings


def test_an_image_that_the_cluster_has_is_not_built_again(monkeypatch, capsys):
    """Its archive may have made room for others since."""
    monkeypatch.setattr(imageset, "key_of", lambda image, tool: f"key of {image.reference}")
    monkeypatch.setattr(imageset, "build_once", None)
    monkeypatch.setattr(engines, "engine", lambda provider: "none")
    monkeypatch.setattr("cluster.native.host.is_root", lambda: True)
    cluster = cluster_for("dev", provider="native")
    names = (imageset.IMAGES[part].reference for part in imageset.USUAL)
    cluster.state.create()
    cluster.state.write("images", {name: f"key of {name}" for name in names})
    cluster.build_images()
    assert capsys.readouterr().err.count("is unchanged") == 2
