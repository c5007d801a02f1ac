"""The native cluster: one real Kubernetes node in namespaces of its own,
with no Docker underneath.
"""
