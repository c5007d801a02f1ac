"""The native cluster: one real Kubernetes node in namespaces of its own, without Docker."""
