"""The page of releases and its report: what is known of a release, for people to look at.

Nothing is decided or worked out here: figures and sentences are those of the release's status, and
of `core.explain`.
"""
