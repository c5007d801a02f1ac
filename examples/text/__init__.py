"""A model of texts, made into an artifact, with a baseline for drift of its texts."""
