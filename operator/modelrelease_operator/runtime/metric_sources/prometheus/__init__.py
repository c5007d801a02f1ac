"""Prometheus, and whatever speaks its HTTP API: queries, the client, and the meaning of answers."""
