"""Decisions, and nothing else.

Everything here is a function of its arguments: no client, no clock, no log, no environment. Time
comes in as `now`, the world comes in as `Observed`, and what should be goes out as a `Decision`.
"""
