"""Joins predictions with what came of them, and counts by revision."""
