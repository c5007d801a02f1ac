"""Models for demonstrations and tests. Nothing that is installed imports this."""
