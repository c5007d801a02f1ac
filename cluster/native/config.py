"""The configuration of every program of a native cluster, as text.

Nothing here touches the machine.

Inside the cluster's mount namespace the state folder is /run/cluster and the programs are in
/run/bin; /run, /var/lib and /var/log are the cluster's own. That is why default paths can be used,
and why two clusters do not meet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from cluster.names import Subnets

INSIDE, BIN, PKI = "/run/cluster", "/run/bin", "/run/cluster/pki"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "docker.io/library/modelrelease-pause:dev"

CONTAINERD = """\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
# "opt" would make a folder on the host; the other snapshotters are not ours to probe.
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Where root lacks CAP_SYS_RESOURCE (many virtual machines) runc may not lower the score and would die.
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{inside}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""  # noqa: E501


@dataclass(frozen=True)
class Node:
    """What the programs have to know about their cluster."""

    name: str
    subnets: Subnets
    controller_qps: int | None = None
    """Requests a second that each of the controllers may make; None for Kubernetes' own default."""

    @property
    def hostname(self) -> str:
        """Name of the Node object."""
        return f"modelrelease-{self.name}"

    @property
    def cgroup(self) -> str:
        """The cgroup that holds all pods, and goes with the cluster."""
        return f"modelrelease-{self.name}"

    def files(self) -> dict[str, str]:
        """Name every configuration file and its text, below the state folder."""
        return {
            "containerd.toml": CONTAINERD.format(
                socket=CONTAINERD_SOCKET, pause=PAUSE_IMAGE, inside=INSIDE
            ),
            "cni/10-bridge.conflist": json.dumps(self._cni(), indent=2),
            "kubelet.yaml": json.dumps(self._kubelet(), indent=2),
            "proxy.yaml": json.dumps(self._proxy(), indent=2),
            "resolv.conf": "",  # pods never ask the host's resolvers
            "node.json": json.dumps(self._plan(), indent=2),
        }

    def _cni(self) -> object:
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": str(self.subnets.pods)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}

    def _kubelet(self) -> object:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.subnets.node_ip,
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": f"{PKI}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{PKI}/node.crt",
            "tlsPrivateKeyFile": f"{PKI}/node.key",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "clusterDNS": [self.subnets.dns_ip],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{INSIDE}/resolv.conf",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "serializeImagePulls": False,
            "nodeStatusUpdateFrequency": "4s",
            "syncFrequency": "10s",
            "fileCheckFrequency": "0s",
        }

    def _proxy(self) -> object:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": f"{PKI}/proxy.kubeconfig"},
            "hostnameOverride": self.hostname,
            "clusterCIDR": str(self.subnets.pods),
            "iptables": {"minSyncPeriod": "0.2s", "syncPeriod": "30s"},
            "conntrack": {
                "maxPerCore": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "oomScoreAdj": 0,
        }

    def _plan(self) -> object:
        """Tell the first process of the namespaces what to do."""
        return {
            "hostname": self.hostname,
            "address": f"{self.subnets.node_ip}/24",
            "services": str(self.subnets.services),
            "api": f"https://{self.subnets.node_ip}:6443/readyz",
            "first": {
                "etcd": self._etcd(),
                "containerd": self._containerd(),
                "kube-apiserver": self._apiserver(),
            },
            "then": {
                "kube-controller-manager": self._controller_manager(),
                "kube-scheduler": self._scheduler(),
                "kubelet": self._kubelet_command(),
                "kube-proxy": [f"{BIN}/kube-proxy", f"--config={INSIDE}/proxy.yaml"],
            },
        }

    def _etcd(self) -> list[str]:
        return [
            f"{BIN}/etcd",
            "--data-dir=/var/lib/etcd",
            "--unsafe-no-fsync",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--log-level=warn",
        ]

    def _containerd(self) -> list[str]:
        return ["containerd", f"--config={INSIDE}/containerd.toml", "--log-level=warn"]

    def _apiserver(self) -> list[str]:
        return [
            f"{BIN}/kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            f"--advertise-address={self.subnets.node_ip}",
            "--secure-port=6443",
            f"--service-cluster-ip-range={self.subnets.services}",
            f"--tls-cert-file={PKI}/apiserver.crt",
            f"--tls-private-key-file={PKI}/apiserver.key",
            f"--client-ca-file={PKI}/ca.crt",
            f"--kubelet-certificate-authority={PKI}/ca.crt",
            f"--kubelet-client-certificate={PKI}/apiserver-client.crt",
            f"--kubelet-client-key={PKI}/apiserver-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={PKI}/accounts.pub",
            f"--service-account-signing-key-file={PKI}/accounts.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
        ]

    def _controller_manager(self) -> list[str]:
        return [
            f"{BIN}/kube-controller-manager",
            f"--kubeconfig={PKI}/controller-manager.kubeconfig",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--root-ca-file={PKI}/ca.crt",
            f"--service-account-private-key-file={PKI}/accounts.key",
            f"--cluster-signing-cert-file={PKI}/ca.crt",
            f"--cluster-signing-key-file={PKI}/ca.key",
            "--flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins",
            *(
                f"--kube-api-{limit}={self.controller_qps}"
                for limit in ("qps", "burst")
                if self.controller_qps
            ),
        ]

    def _scheduler(self) -> list[str]:
        return [
            f"{BIN}/kube-scheduler",
            f"--kubeconfig={PKI}/scheduler.kubeconfig",
            "--leader-elect=false",
        ]

    def _kubelet_command(self) -> list[str]:
        return [
            f"{BIN}/kubelet",
            f"--config={INSIDE}/kubelet.yaml",
            f"--kubeconfig={PKI}/node.kubeconfig",
            f"--hostname-override={self.hostname}",
            f"--node-ip={self.subnets.node_ip}",
        ]
