"""Traffic providers are renderers: a split in, what routers read out, and back.

Nothing here talks to an API. `replicas` is the one that works everywhere: the share comes from the
numbers of pods behind one Service.
"""
