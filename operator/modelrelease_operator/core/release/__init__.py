"""The state machine: what a release does next, phase by phase."""
