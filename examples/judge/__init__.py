"""A judge of one's own: it asks both versions the same prompts and counts whose answer is worse."""
