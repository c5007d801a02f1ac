"""The loop, closed: data drifts, a Job retrains, the registry's alias moves, the canary decides."""
