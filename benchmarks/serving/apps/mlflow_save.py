"""Saves a joblib file as an MLflow model, in MLflow's environment:
`mlflow_save.py MODEL_FILE FOLDER`.
"""

import sys

import joblib
import mlflow.sklearn

if __name__ == "__main__":
    source, folder = sys.argv[1:]
    mlflow.sklearn.save_model(
        joblib.load(source),
        folder,
        pyfunc_predict_fn="predict_proba",
        # MLflow's default format refuses the type of a tree's nodes.
        serialization_format="cloudpickle",
        pip_requirements=[],
    )
