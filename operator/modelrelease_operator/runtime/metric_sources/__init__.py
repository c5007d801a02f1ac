"""Where the counters of a release's revisions are read: one kind of source a folder or module.

`source.py` says what a source is asked and what it gives, `registry.py` lists the kinds.
docs/how-to/add-a-metric-source.md says how another is added.
"""
