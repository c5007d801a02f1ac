"""A scikit-learn model behind KServe's Python server.

KServe's own `sklearnserver` is in its repository and not on the package index. This does for each
request what that does (decode the payload, `predict_proba`, encode the answer, with KServe's own
helpers). KServe listens on all addresses; here it is told to keep to the loopback one.
"""

import argparse
import os
from typing import Any

import joblib
import kserve
import uvicorn
from kserve.utils.utils import get_predict_input, get_predict_response


class Probabilities(kserve.Model):  # type: ignore[misc]
    """A joblib file and its `predict_proba`."""

    def load(self) -> bool:
        """Read the file."""
        self.estimator = joblib.load(os.environ["MODEL_FILE"])
        self.ready = True
        return True

    def predict(self, payload: Any, *_headers: Any) -> Any:
        """Answer one request."""
        rows = get_predict_input(payload)
        return get_predict_response(payload, self.estimator.predict_proba(rows), self.name)


class Loopback(uvicorn.Config):
    """uvicorn's settings, but for the address."""

    def __init__(self, app: Any, **settings: Any) -> None:
        super().__init__(app, **{**settings, "host": "127.0.0.1"})


if __name__ == "__main__":
    options, _ = argparse.ArgumentParser(parents=[kserve.model_server.parser]).parse_known_args()
    uvicorn.Config = Loopback  # type: ignore[assignment,misc]
    if options.configure_logging:
        kserve.logging.configure_logging(options.log_config_file)
    model = Probabilities(options.model_name)
    model.load()
    kserve.ModelServer().start([model])
