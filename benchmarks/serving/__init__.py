"""The predictor beside other servers of scikit-learn models: same model, same row, same core.

`candidates` says who takes part, `rivals/` what each has installed, `apps/` holds the few lines
that a rival needs to be told about a model. `figures` and `report` are pure; the rest starts
programs.
"""
