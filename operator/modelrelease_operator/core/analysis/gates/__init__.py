"""The kinds of gates, one module each: what is asked, the tests, what is assumed beforehand, the
words.

A kind is told from another in one place, `registry.kind_of`; docs/how-to/add-a-gate-kind.md walks
through adding one.
"""
