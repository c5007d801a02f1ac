"""Gates: the tests of each kind, and what they say together at one look."""
