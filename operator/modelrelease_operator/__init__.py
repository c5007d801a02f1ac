"""The operator that releases machine-learning models, and decides from evidence if they stay."""

__version__ = "0.1.0"
