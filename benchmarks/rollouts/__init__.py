"""Whole releases on a real cluster: this operator beside Argo Rollouts and Flagger.

`python -m benchmarks.rollouts` runs it; `benchmarks/README.md` says how, and what came out.
"""
