"""What an object is called in the cluster."""

NamespacedName = tuple[str, str]
"""Namespace and name."""
