"""From drift to the next version: ingest, validate, train, compare, register, release.

`steps` does the work and knows nothing of Prefect; `flow` gives each step its retries and its
memory.
"""
