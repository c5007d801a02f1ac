"""A load generator for demonstrations and cluster tests."""
