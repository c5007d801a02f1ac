"""Releases that are not real: simulated, planned, or replayed over a recorded past,
by the same `decide`.
"""
