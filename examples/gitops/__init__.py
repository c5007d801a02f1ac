"""A repository of models in environments, and the promotion from one to the next."""
