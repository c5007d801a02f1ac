"""The operator that releases machine-learning models and decides from evidence whether they
stay.
"""

__version__ = "0.1.0"
