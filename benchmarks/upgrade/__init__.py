"""Another operator in the middle of releases: one of an earlier commit before it, or after it.

`python -m benchmarks.upgrade --from REVISION` runs it; docs/explanation/upgrades.md has the table.
"""
