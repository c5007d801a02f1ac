"""Certificates and kubeconfigs of one native cluster, made with the host's openssl."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from cluster import shell
from cluster.names import Subnets

OPENSSL_CONFIG = """\
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign,digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


@dataclass(frozen=True)
class Pki:
    """The authority of one cluster, in a folder; `make` fills it."""

    folder: Path
    subnets: Subnets
    node: str

    def make(self) -> None:
        """Make the authority, certificates of programs and people, and service accounts' key."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._certificate("ca", "/CN=modelrelease", extensions="ca")
        self._certificate("apiserver", "/CN=kube-apiserver", names=self._apiserver_names())
        self._certificate(
            "node", f"/O=system:nodes/CN=system:node:{self.node}", names=self._node_names()
        )
        for user, subject in {
            "admin": "/O=system:masters/CN=admin",
            "apiserver-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
            "controller-manager": "/CN=system:kube-controller-manager",
            "scheduler": "/CN=system:kube-scheduler",
            "proxy": "/CN=system:kube-proxy",
        }.items():
            self._certificate(user, subject)
        shell.run(["openssl", "genrsa", "-out", self.folder / "accounts.key", "2048"])
        accounts = self.folder / "accounts"
        shell.run(
            ["openssl", "rsa", "-in", f"{accounts}.key", "-pubout", "-out", f"{accounts}.pub"]
        )
        for user in ("node", "controller-manager", "scheduler", "proxy"):
            (self.folder / f"{user}.kubeconfig").write_text(self.kubeconfig(user))

    def kubeconfig(self, user: str, context: str = "native") -> str:
        """Write a kubeconfig for one of the certificates (JSON is YAML)."""
        cluster = {
            "server": f"https://{self.subnets.node_ip}:6443",
            "certificate-authority-data": self._data("ca.crt"),
        }
        credentials = {
            "client-certificate-data": self._data(f"{user}.crt"),
            "client-key-data": self._data(f"{user}.key"),
        }
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": context, "cluster": cluster}],
                "users": [{"name": context, "user": credentials}],
                "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
                "current-context": context,
            },
            indent=2,
        )

    def _data(self, file: str) -> str:
        return base64.b64encode((self.folder / file).read_bytes()).decode()

    def _apiserver_names(self) -> str:
        short = "kubernetes.default"
        hosts = ["kubernetes", short, f"{short}.svc", f"{short}.svc.cluster.local", "localhost"]
        addresses = [self.subnets.node_ip, self.subnets.api_service_ip, "127.0.0.1"]
        return ",".join(
            [f"DNS:{host}" for host in hosts] + [f"IP:{address}" for address in addresses]
        )

    def _node_names(self) -> str:
        return f"DNS:{self.node},IP:{self.subnets.node_ip}"

    def _certificate(
        self, name: str, subject: str, names: str = "DNS:localhost", extensions: str = "leaf"
    ) -> None:
        config = self.folder / f"{name}.cnf"
        config.write_text(OPENSSL_CONFIG.format(names=names))
        key, certificate = self.folder / f"{name}.key", self.folder / f"{name}.crt"
        command: list[str | Path] = [
            "openssl",
            "req",
            "-x509",
            "-config",
            config,
            "-extensions",
            extensions,
        ]
        command += [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "3650",
        ]
        command += ["-subj", subject, "-keyout", key, "-out", certificate]
        if name != "ca":
            command += ["-CA", self.folder / "ca.crt", "-CAkey", self.folder / "ca.key"]
        shell.run(command)
        config.unlink()
