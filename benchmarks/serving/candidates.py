"""Who takes part: how each server is started, asked and read. Data only; nothing runs here.

Commands and variables are templates: `{env}` is the folder of the candidate's environment,
`{models}` the folder of prepared models, `{root}` that of the sources, `{apps}` that of the rivals'
few lines, `{port}`, `{port2}` and `{port3}` free ports, `{sha256[NAME]}` the digest of one of our
artifacts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatch
from typing import Any, Final

Row = Sequence[float]

OWN: Final = "ours"
"""The environment with what the serving image has."""


class Role(StrEnum):
    """What a candidate is compared as."""

    OURS = "ours"
    RIVAL = "rival"
    CEILING = "ceiling"


class Work(StrEnum):
    """The model that is served."""

    LOGISTIC = "logistic"
    FOREST = "forest"
    NOTHING = "constant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """How a server wants one row, and where in its answer the probability of class 1 is."""

    path: str
    body: Callable[[Row], dict[str, Any]]
    probability: Callable[[Any], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One server with one model."""

    name: str
    role: Role
    work: Work
    environment: str
    """A file of `rivals/` without its ending, or OWN."""
    command: tuple[str, ...]
    wire: Wire
    variables: Mapping[str, str] = field(default_factory=dict)
    folder: str = "{models}"
    """Where it is started."""
    imports: str = ""
    """What the process has to import before it can listen: timed on its own."""
    warm_up_seconds: float = 1.0
    tuned: bool = False
    note: str = ""


def _tensor(row: Row) -> dict[str, Any]:
    inputs = [{"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": list(row)}]
    return {"inputs": inputs, "outputs": [{"name": "predict_proba"}]}


OURS: Final = Wire(
    path="/predict",
    body=lambda row: {"features": list(row)},
    probability=lambda answer: float(answer["prediction"]),
)
TENSORS: Final = Wire(
    path="/v2/models/model/infer",
    body=_tensor,
    probability=lambda answer: float(answer["outputs"][0]["data"][1]),
)
INSTANCES: Final = Wire(
    path="/v1/models/model:predict",
    body=lambda row: {"instances": [list(row)]},
    probability=lambda answer: float(answer["predictions"][0][1]),
)
ROWS: Final = Wire(
    path="/predict",
    body=lambda row: {"rows": [list(row)]},
    probability=lambda answer: float(answer[0][1]),
)
INVOCATION: Final = Wire(
    path="/invocations",
    body=lambda row: {"inputs": [list(row)]},
    probability=lambda answer: float(answer["predictions"][0][1]),
)
PLAIN: Final = Wire(
    path="/predict",
    body=lambda row: {"features": list(row)},
    probability=lambda answer: float(answer["probabilities"][1]),
)

_UVICORN: Final = ("{env}/bin/python", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}")
_QUIET: Final = (
    "--no-access-log",
    "--no-proxy-headers",
    "--no-server-header",
    "--log-level",
    "warning",
    "--loop",
    "uvloop",
    "--http",
    "httptools",
)


def _ours(work: Work, note: str, *, untouched: bool = False) -> Candidate:
    return Candidate(
        name=f"ours-{work}{'-opaque' if untouched else ''}",
        role=Role.OURS,
        work=work,
        environment=OWN,
        command=("{env}/bin/python", "-m", "modelrelease_serving", "serve"),
        variables={
            "MODEL_PATH": f"{{models}}/artifacts/{work}/1",
            "MODEL_SHA256": f"{{sha256[{work}]}}",
            "HOST": "127.0.0.1",
            "PORT": "{port}",
            "DRAIN_SECONDS": "0",
            "TERMINATION_LOG": "/dev/null",
            "PYTHONPATH": "{root}/serving:{root}/contract",
            **({"COMPILE_MODEL": "false"} if untouched else {}),
        },
        wire=OURS,
        imports="modelrelease_serving.server, sklearn.pipeline, sklearn.linear_model",
        note=note,
    )


def _tutorial(work: Work) -> Candidate:
    return Candidate(
        name=f"tutorial-{work}",
        role=Role.RIVAL,
        work=work,
        environment="tutorial",
        command=(*_UVICORN, "--app-dir", "{apps}", "tutorial:app"),
        variables={"MODEL_FILE": f"{{models}}/{work}/model.joblib"},
        wire=PLAIN,
        imports="fastapi, uvicorn, joblib, sklearn.pipeline, sklearn.linear_model",
        note="a FastAPI app as tutorials write it, with uvloop and httptools",
    )


def _mlserver(work: Work, *, tuned: bool) -> Candidate:
    settings = {"MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false"} if tuned else {}
    return Candidate(
        name=f"mlserver-{'tuned-' if tuned else ''}{work}",
        role=Role.RIVAL,
        work=work,
        environment="mlserver-tuned" if tuned else "mlserver",
        command=("{env}/bin/mlserver", "start", "."),
        folder=f"{{models}}/mlserver{'-tuned' if tuned else ''}/{work}",
        variables={
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{port2}",
            "MLSERVER_METRICS_PORT": "{port3}",
            **settings,
        },
        wire=TENSORS,
        imports="mlserver.cli, mlserver.server, mlserver_sklearn, sklearn.linear_model",
        tuned=tuned,
        note=(
            "no worker processes, batches of 32 within 2 ms, no debug, httptools"
            if tuned
            else (
                "as installed, with uvloop below 0.22: with newer ones its default mode does not "
                "start"
            )
        ),
    )


def _kserve(work: Work, *, tuned: bool) -> Candidate:
    quiet = (
        ("--enable_latency_logging", "false", "--log_config_file", "{apps}/quiet.json")
        if tuned
        else ()
    )
    options = ("--model_name", "model", "--http_port", "{port}", "--enable_grpc", "false", *quiet)
    return Candidate(
        name=f"kserve-{'tuned-' if tuned else ''}{work}",
        role=Role.RIVAL,
        work=work,
        environment="kserve",
        command=("{env}/bin/python", "{apps}/kserve_server.py", *options),
        variables={"MODEL_FILE": f"{{models}}/{work}/model.joblib"},
        wire=INSTANCES,
        imports="kserve, joblib, sklearn.pipeline, sklearn.linear_model",
        tuned=tuned,
        note="no latency log, no access log" if tuned else "as installed, without gRPC",
    )


def _bentoml(work: Work, *, tuned: bool) -> Candidate:
    service = "bento:Tuned" if tuned else "bento:Plain"
    return Candidate(
        name=f"bentoml-{'tuned-' if tuned else ''}{work}",
        role=Role.RIVAL,
        work=work,
        environment="bentoml-tuned" if tuned else "bentoml",
        command=("{env}/bin/bentoml", "serve", service, "--host", "127.0.0.1", "--port", "{port}"),
        folder="{apps}",
        variables={
            "MODEL_FILE": f"{{models}}/{work}/model.joblib",
            "BENTOML_DO_NOT_TRACK": "true",
            "BENTOML_HOME": "{models}/bentoml",
        },
        wire=ROWS,
        imports="bentoml, joblib, sklearn.pipeline, sklearn.linear_model",
        tuned=tuned,
        note="batches of up to 32, no access log, uvloop, httptools" if tuned else "as installed",
    )


def _mlflow(work: Work, *, tuned: bool) -> Candidate:
    quiet = {"UVICORN_ACCESS_LOG": "false", "UVICORN_LOG_LEVEL": "warning"} if tuned else {}
    arguments = (
        "-m",
        f"{{models}}/mlflow/{work}",
        "--env-manager",
        "local",
        "-h",
        "127.0.0.1",
        "-p",
        "{port}",
    )
    return Candidate(
        name=f"mlflow-{'tuned-' if tuned else ''}{work}",
        role=Role.RIVAL,
        work=work,
        environment="mlflow-tuned" if tuned else "mlflow",
        command=("{env}/bin/mlflow", "models", "serve", *arguments),
        variables={"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": "{env}/bin:/usr/bin:/bin", **quiet},
        wire=INVOCATION,
        imports="mlflow.pyfunc.scoring_server, mlflow.sklearn, fastapi, uvicorn",
        tuned=tuned,
        note="no access log, uvloop, httptools" if tuned else "as installed",
    )


def _ceiling(name: str, app: str, note: str) -> Candidate:
    return Candidate(
        name=name,
        role=Role.CEILING,
        work=Work.NOTHING,
        environment=OWN,
        command=(*_UVICORN, *_QUIET, "--app-dir", "{apps}", f"ceilings:{app}"),
        wire=PLAIN,
        imports="uvicorn, uvloop, httptools"
        if app == "raw"
        else "fastapi, uvicorn, uvloop, httptools",
        note=note,
    )


def _rivals(work: Work) -> list[Candidate]:
    rivals = [_tutorial(work)]
    for make in (_mlserver, _kserve, _bentoml, _mlflow):
        rivals += [make(work, tuned=False), make(work, tuned=True)]
    return rivals


CANDIDATES: Final[tuple[Candidate, ...]] = (
    _ours(Work.LOGISTIC, "StandardScaler and LogisticRegression, default settings"),
    _ours(
        Work.LOGISTIC,
        "the same, and scikit-learn itself answers (COMPILE_MODEL=false)",
        untouched=True,
    ),
    _ours(Work.FOREST, "RandomForestClassifier of 100 trees, default settings"),
    _ours(
        Work.FOREST,
        "the same, and scikit-learn itself answers (COMPILE_MODEL=false)",
        untouched=True,
    ),
    *_rivals(Work.LOGISTIC),
    *_rivals(Work.FOREST),
    _ceiling("raw-asgi", "raw", "a constant answer from a bare ASGI function in uvicorn"),
    _ceiling("fastapi-constant", "fastapi", "a constant dict from a FastAPI route"),
)


class UnknownError(ValueError):
    """A pattern of `--only` fits no candidate."""


def matching(
    patterns: Sequence[str], candidates: Sequence[Candidate] = CANDIDATES
) -> list[Candidate]:
    """Return the candidates that fit any of the shell patterns, all without one.

    Raises UnknownError.
    """
    for pattern in patterns:
        if not any(fnmatch(candidate.name, pattern) for candidate in candidates):
            names = ", ".join(candidate.name for candidate in candidates)
            msg = f"--only {pattern}: no candidate has such a name; there are {names}"
            raise UnknownError(msg)
    if not patterns:
        return list(candidates)
    return [candidate for candidate in candidates if _fits_any(candidate, patterns)]


def _fits_any(candidate: Candidate, patterns: Sequence[str]) -> bool:
    return any(fnmatch(candidate.name, pattern) for pattern in patterns)
