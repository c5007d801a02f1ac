"""The only part that talks to the world:
the API server, Prometheus, artifact stores, the clock, the log.
"""
