"""A model behind FastAPI, as tutorials write it: one pydantic class, one route, one joblib file."""

import os

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["MODEL_FILE"])


class Request(BaseModel):
    """One row."""

    features: list[float]


class Answer(BaseModel):
    """The class, and the probability of each."""

    prediction: int
    probabilities: list[float]


@app.post("/predict")
def predict(request: Request) -> Answer:
    """Predict one row."""
    probabilities = model.predict_proba([request.features])[0].tolist()
    return Answer(prediction=int(probabilities[1] >= 0.5), probabilities=probabilities)
