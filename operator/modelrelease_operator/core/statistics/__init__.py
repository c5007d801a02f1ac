"""Tests that hold however often one looks, how much they need,
and random numbers with exact laws.
"""
