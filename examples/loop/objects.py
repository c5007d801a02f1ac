"""What the loop needs besides the operator: MLflow, a training Job, a release that retrains."""

from typing import Any

from examples import fixtures

TRAINING_IMAGE = "modelrelease-training:dev"
REGISTRY = "mlflow"
MODEL = "qna"
TRAINED_BY = "first-training"
QUICK_DRIFT = {"window": "20s", "minSamples": 300, "sustained": {"windows": 3, "atLeast": 2}}
CANARY = {
    "steps": [{"weight": 25, "bake": "10s"}, {"weight": 50, "bake": "10s"}],
    "keepPrevious": "30s",
}


def registry_url(space: str) -> str:
    """Return the address of the MLflow server in a namespace."""
    return f"http://{REGISTRY}.{space}"


def registry(space: str) -> list[fixtures.Object]:
    """Return a real MLflow server with its registry: SQLite and artifacts on the pod's own disk."""
    # To its server no host is every address of both families; `::` would be IPv6 alone.
    command = ["python", "-m", "mlflow", "server", "--host", "", "--port", "5000", "--workers", "1"]
    command += [
        "--backend-store-uri",
        "sqlite:////data/mlflow.db",
        "--artifacts-destination",
        "/data/artifacts",
    ]
    command += ["--serve-artifacts", "--allowed-hosts", "*"]
    container = {
        "name": REGISTRY,
        "image": TRAINING_IMAGE,
        "command": command,
        "env": [
            *environment(space),
            # MLflow's background jobs are several more processes that nobody asks here.
            {"name": "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "value": "false"},
        ],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, *SCRATCH_MOUNTS],
    }
    volumes = [{"name": "data", "emptyDir": {}}, *SCRATCH]
    pod = fixtures.pod(container, 5000, "/health", volumes)
    return [fixtures.deployment(REGISTRY, space, pod), fixtures.service(REGISTRY, space, 5000)]


SCRATCH: list[fixtures.Object] = [{"name": "scratch", "emptyDir": {}}]
SCRATCH_MOUNTS: list[fixtures.Object] = [{"name": "scratch", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own


def environment(space: str) -> list[dict[str, str]]:
    """Return the variables that training and the registry share."""
    variables = {
        "HOME": "/tmp",  # noqa: S108 - the root is read-only
        "MLFLOW_TRACKING_URI": registry_url(space),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108
    }
    return [{"name": name, "value": value} for name, value in variables.items()]


def first_training(space: str) -> fixtures.Object:
    """Return the Job that trains version 1 and makes it the champion."""
    command = ["python", "-m", "modelrelease_training", "train", "--version", "1", "--name", MODEL]
    command += [
        "--output",
        "artifacts",
        "--register",
        "--alias",
        "candidate",
        "--alias",
        "champion",
    ]
    container = {
        "name": "train",
        "image": TRAINING_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "workingDir": "/tmp",  # noqa: S108 - the pod's own
        "env": environment(space),
        "volumeMounts": SCRATCH_MOUNTS,
        "securityContext": fixtures.CONTAINER_SECURITY,
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": fixtures.POD_SECURITY,
        "containers": [container],
        "volumes": SCRATCH,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": TRAINED_BY, "namespace": space},
        "spec": {"backoffLimit": 2, "template": {"spec": pod}},
    }


def retraining(space: str, *arguments: str) -> fixtures.Object:
    """Return `spec.retrain`: the flow, told where the data comes from by `arguments`."""
    return {
        "image": TRAINING_IMAGE,
        "command": ["python", "-m", "modelrelease_training.flow", "run"],
        "args": list(arguments),
        "env": environment(space),
        # Longer than the operator needs to see the moved alias: else the same drift would ask
        # again.
        "cooldown": "2m",
        "deadline": "15m",
    }


def release(space: str, retrain: fixtures.Object) -> fixtures.Object:
    """Return the ModelRelease: it follows the alias, watches for drift, and says how to retrain."""
    parts: dict[str, Any] = {
        "serving": {"replicas": 2},
        "canary": CANARY,
        "analysis": {"interval": "5s"},
        "drift": QUICK_DRIFT,
        "retrain": retrain,
    }
    return fixtures.release(MODEL, space, f"models:/{MODEL}@candidate", **parts)
