"""The steps of a retraining. Each takes the request and what came before, and returns plain JSON.

A step that runs again finds what it left: files are replaced whole, a registered artifact is found
by its digest, an alias or a commit that is there already stays. Nothing here knows of Prefect.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelrelease_training import gitops, pipeline
from modelrelease_training.accept import Rule
from modelrelease_training.alerts import Alert, notify, webhooks
from modelrelease_training.compare import compare
from modelrelease_training.errors import InvalidDataError, NotRegisteredError
from modelrelease_training.export import TRAINING_NAME, Label
from modelrelease_training.flow.request import Drawn, Request
from modelrelease_training.ingest import Ingested, generate, ingest, write_table
from modelrelease_training.registry import CANDIDATE, CHAMPION, Registry, facts_of
from modelrelease_training.schema import DataSchema, load_schema, validate
from modelrelease_training.train import Recipe, usual_estimator

Fields = dict[str, Any]


def bring(request: Request) -> Fields:
    """Copy or draw the rows into one Parquet file of this request."""
    target = request.folder / "data.parquet"
    if request.data is not None:
        texts = _schema(request).texts
        return _ingested(ingest(request.data, target, texts=texts, force=True))
    drawn = request.drawn or Drawn()
    rows = generate(rows=drawn.rows, seed=drawn.seed, shifts=drawn.shifts)
    return _ingested(write_table(rows, target, force=True))


def check(request: Request, data: Fields) -> Fields:
    """Hold the rows against the data schema. Raises InvalidDataError, after telling people."""
    report = validate(Path(data["path"]), _schema(request))
    if not report.valid:
        broken = "; ".join(violation.sentence() for violation in report.violations)
        fact = f"{report.path} breaks its schema {report.total} times: {broken}"
        tell(
            "data",
            request,
            f"{request.model}: the data of retraining {request.id} is wrong: {fact}",
        )
        raise InvalidDataError(fact)
    return data


def train(request: Request, data: Fields) -> Fields:
    """Fit, measure and export the challenger."""
    how = request.how
    recipe = Recipe(
        estimator=how.estimator
        or usual_estimator(max_steps=how.max_steps, batch_size=how.batch_size),
        regularization=how.regularization,
        max_steps=how.max_steps,
        batch_size=how.batch_size,
        seed=how.seed,
    )
    order = pipeline.Order(
        label=Label(name=request.model, version=request.label),
        output=request.folder / "artifacts",
        source=pipeline.Source(path=Path(data["path"]), schema=_schema(request)),
        recipe=recipe,
        force=True,
    )
    trained = pipeline.run(order, say=print)
    return {
        "folder": str(trained.exported.path),
        "digest": trained.exported.digest,
        "metrics": trained.metrics,
    }


def judge(request: Request, data: Fields, trained: Fields) -> Fields:
    """Compare the challenger with the champion on the same held-out rows.

    Where there is no champion yet, whoever comes first is accepted.
    """
    try:
        champion = Registry().download(
            f"models:/{request.model}@{CHAMPION}", request.folder / "champion"
        )
    except NotRegisteredError:
        return {"accepted": True, "reason": f"{request.model} has no {CHAMPION} to compare with"}
    acceptance = compare(
        champion=champion,
        challenger=Path(trained["folder"]),
        data=Path(data["path"]),
        schema=_schema(request),
        rule=Rule(**request.accept.model_dump()),
    ).acceptance
    return {"accepted": acceptance.accepted, "reason": acceptance.reason}


def register(request: Request, trained: Fields) -> Fields:
    """Put the challenger into the registry, under no alias yet."""
    folder = Path(trained["folder"])
    facts = facts_of(json.loads((folder / TRAINING_NAME).read_text()))
    tags = {**facts.tags, "retrain_request": request.id}
    version = Registry().register(folder, aliases=(), facts=replace(facts, tags=tags))
    return {"name": version.name, "version": version.version}


def release(request: Request, trained: Fields, registered: Fields) -> Fields:
    """Let the release begin: move the alias, or commit. The canary decides from here on."""
    uri = f"models:/{registered['name']}/{registered['version']}"
    released = {"uri": uri, "released": request.release}
    if request.release == "alias":
        Registry().register(Path(trained["folder"]), aliases=(CANDIDATE,))
        return {**released, "where": f"models:/{request.model}@{CANDIDATE}"}
    if request.git is not None:
        location = gitops.Location(**request.git.model_dump())
        message = f"Release {request.model} {request.label} (retraining {request.id})"
        commit = gitops.commit(location, gitops.Model(uri=uri), message=message)
        return {**released, "where": f"{location.repository} {location.file}", "commit": commit}
    return released


def tell(kind: str, request: Request, text: str) -> None:
    """Tell people by webhook, where one is set, and the log."""
    print(text)
    for problem in notify(
        Alert(kind=kind, subject=f"{request.model}/{request.id}", text=text), webhooks(None)
    ):
        print(problem)


def _schema(request: Request) -> DataSchema:
    return load_schema(request.schema_file)


def _ingested(table: Ingested) -> Fields:
    return {"path": str(table.path), "fingerprint": table.fingerprint, "rows": table.rows}
