"""Whole releases on a real cluster while parts of it are ended: users' requests are counted.

`python -m benchmarks.chaos` runs it; `docs/explanation/chaos.md` says what came out.
"""
