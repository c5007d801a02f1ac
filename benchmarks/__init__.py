"""Measurements: never tests, always beside something to compare with."""
