"""The only part that talks to the world: API server, Prometheus, stores, clock and log."""
