"""Drift outside the predictor: of texts by what they mean, and of tables of numbers.

`modelrelease-drift baseline` remembers what data looked like, `check` compares a batch with it, and
`serve` does so for the requests that predictors sample. The statistics know no file and no encoder.
"""
