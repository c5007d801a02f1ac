"""A model of a table with numbers, categories and gaps, made into an artifact."""
