"""What the operator hands to the predictor's containers, and what they answer with.

The fetch container copies the artifact to `MODEL_DIR`, or runs `inspect` on one that the node
mounted there, the predictor serves it, and the prober asks two predictors, or two servers that are
not ours. Where a signature is wanted, `verify` checks it between `fetch` and the server, and
`describe` tells what an artifact is that only a pod can read. All are the same image:
`python -m modelrelease_serving fetch`, `inspect`, `verify`, `describe`, `serve`, `probe` and
`compare`.
"""

ENV_RELEASE = "MODELRELEASE_RELEASE"
ENV_REVISION = "MODELRELEASE_REVISION"
ENV_MODEL_URI = "MODEL_URI"
ENV_MODEL_SHA256 = "MODEL_SHA256"
ENV_MODEL_PATH = "MODEL_PATH"
ENV_ARTIFACT_CACHE_PATH = "ARTIFACT_CACHE_PATH"
ENV_ARTIFACT_CACHE_KEEP = "ARTIFACT_CACHE_KEEP"
ENV_MODEL_VERSION = "MODEL_VERSION"
ENV_API_VERSION = "API_VERSION"
ENV_LOG_LEVEL = "LOG_LEVEL"
ENV_LOG_FORMAT = "LOG_FORMAT"
ENV_DRAIN_SECONDS = "DRAIN_SECONDS"
ENV_CONNECTION_MAX_AGE_SECONDS = "CONNECTION_MAX_AGE_SECONDS"
ENV_MANIFEST_ONLY = "MANIFEST_ONLY"
ENV_FETCH_SIGNATURE = "FETCH_SIGNATURE"
ENV_RELEASE_KEY = "SIGNING_KEY_OF_RELEASE"
ENV_OPERATOR_KEYS = "SIGNING_KEYS_OF_OPERATOR"
ENV_PROBE_STABLE_REVISION = "PROBE_STABLE_REVISION"
ENV_PROBE_STABLE_URL = "PROBE_STABLE_URL"
ENV_PROBE_CANARY_URL = "PROBE_CANARY_URL"
ENV_PROBE_RATE = "PROBE_RATE"
ENV_PROBE_TIMEOUT_SECONDS = "PROBE_TIMEOUT_SECONDS"

MODEL_DIR = "/models"
"""Where the fetch container puts the artifact and the predictor finds it, read-only."""

SIGNATURE_NAME = "model.sig"
"""File name of a signature over an artifact, at its top: where `model_signing` puts it."""

PROBE_STABLE_DIR = f"{MODEL_DIR}/stable"
PROBE_CANARY_DIR = f"{MODEL_DIR}/canary"
"""Where the fetch containers of a prober put the manifests of both artifacts."""

PROBE_PATH = "/probe"
"""Answers as `/predict` does, and is counted apart: users' requests and probes are never mixed."""

PVC_DIR = "/pvc"
"""Where the fetch container of `pvc://claim/path` finds the claim, read-only: `PVC_DIR/claim`."""

CACHE_DIR = "/artifact-cache"
"""Where the fetch container, and no other, finds the volume that keeps artifacts."""

TERMINATION_LOG = "/dev/termination-log"
"""A container that gives up writes one sentence here; the operator repeats it in status."""

EXIT_REFUSED = 65
"""Exit code (EX_DATAERR) of a container whose artifact can never work: trying again is no use."""

HTTP_PORT = 8000
"""Predictions, health and metrics."""
