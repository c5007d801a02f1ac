"""Brings up a real Kubernetes cluster for tests, for the demo and for work on the operator.

    from cluster import cluster_for

    dev = cluster_for("dev")
    dev.up()
    print(dev.kubectl("get", "nodes"))

This package is not distributed: it is for this repository alone. `README.md` beside this file says
more.
"""

from cluster.cluster import Cluster, cluster_for
from cluster.errors import ClusterError

__all__ = ["Cluster", "ClusterError", "cluster_for"]
