"""What may be loaded, and what is refused before it is:
pickles nobody pinned, types nobody trusts.
"""

import hashlib
import logging
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

from examples.models import faulty
from modelrelease_contract import MANIFEST_NAME, ModelFile, manifest_digest
from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.loaders import Rules, load_estimator
from modelrelease_serving.model import Model
from modelrelease_training.export import Exported, Label
from tests.serving.support import predictor, settings, train, wait_until

HERE = version("scikit-learn")
MAJOR, MINOR, PATCH = HERE.split(".")[:3]
OTHER_PATCH = f"{MAJOR}.{MINOR}.{int(PATCH) + 1}"
OTHER_MINOR = f"{MAJOR}.{int(MINOR) - 1}.{PATCH}"


def rewritten(exported: Exported, **changes: object) -> str:
    """Change the manifest on disk, and return its new digest."""
    raw = exported.manifest.model_copy(update=changes).model_dump_json().encode()
    (exported.path / MANIFEST_NAME).write_bytes(raw)
    return manifest_digest(raw)


def as_skops(exported: Exported, estimator: object = None) -> str:
    """Put a skops file beside the joblib file and make it the one that is loaded;
    return the new digest.
    """
    if estimator is None:
        estimator = load_estimator(exported.path, exported.manifest, pinned=True, rules=Rules())
    path = exported.path / "model.skops"
    skops.io.dump(estimator, path)
    content = path.read_bytes()
    file = ModelFile(path=path.name, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    files = (*exported.manifest.files, file)
    return rewritten(exported, format="skops", model_file=path.name, files=files)


def libraries(exported: Exported, **changes: str) -> dict[str, str]:
    return {**exported.manifest.libraries, **changes}


def test_a_pickle_that_nobody_pinned_is_refused(artifact: Exported) -> None:
    with pytest.raises(
        RefusedError, match="nobody pinned its digest: set MODEL_SHA256, or ALLOW_UNPINNED"
    ):
        Model.open(artifact.path).load()


def test_a_pickle_of_ones_own_may_be_loaded_without_a_pin(artifact: Exported) -> None:
    model = Model.open(artifact.path, rules=Rules(allow_unpinned=True))
    model.load()
    assert model.ready


def test_the_process_refuses_a_pickle_that_nobody_pinned(
    artifact: Exported, tmp_path: Path
) -> None:
    sentence = tmp_path / "termination-log"
    sentence.touch()
    with predictor(artifact.path, MODEL_SHA256="", TERMINATION_LOG=str(sentence)) as running:
        assert running.wait() == EXIT_REFUSED
    assert "nobody pinned its digest" in sentence.read_text()


def test_the_process_loads_it_when_told_that_this_is_fine(artifact: Exported) -> None:
    with predictor(
        artifact.path, MODEL_SHA256="", ALLOW_UNPINNED="true", DRAIN_SECONDS="0"
    ) as running:
        running.wait_ready()


def test_a_skops_artifact_needs_no_pin_and_answers_as_the_joblib_one(tmp_path: Path) -> None:
    exported = train(tmp_path)
    as_skops(exported)
    model = Model.open(exported.path)
    model.load()
    rows = exported.manifest.examples.rows
    assert model.predict(rows) == pytest.approx(
        list(exported.manifest.examples.predictions), abs=1e-12
    )


def test_a_skops_file_with_a_type_that_nobody_trusts_is_refused_by_name(tmp_path: Path) -> None:
    exported = train(tmp_path)
    # A function of numpy is no type of an estimator, so skops does not vouch for it.
    digest = as_skops(
        exported, TransformedTargetRegressor(LinearRegression(), func=Path, inverse_func=Path)
    )
    with pytest.raises(
        RefusedError, match=r"not on the list of trusted ones: pathlib\.Path; .*SKOPS_TRUSTED"
    ):
        Model.open(exported.path, sha256=digest).load()


def test_a_type_on_the_list_is_built(tmp_path: Path) -> None:
    exported = train(tmp_path)
    as_skops(exported, TransformedTargetRegressor(LinearRegression(), func=Path, inverse_func=Path))
    manifest = Model.open(exported.path).manifest
    found = load_estimator(
        exported.path,
        manifest,
        pinned=False,
        rules=Rules(trusted_types=("pathlib.Path", "unused.Type")),
    )
    assert found.func is Path


def test_the_list_of_trusted_types_is_read_from_one_variable() -> None:
    rules = settings(skops_trusted_types="my.Encoder, my.Scaler,").rules
    assert rules == Rules(trusted_types=("my.Encoder", "my.Scaler"))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_skops_file_is_refused(content: bytes, tmp_path: Path) -> None:
    exported = train(tmp_path)
    as_skops(exported)
    (exported.path / "model.skops").write_bytes(content)
    manifest = Model.open(exported.path).manifest
    with pytest.raises(RefusedError, match=r"model\.skops cannot be loaded \("):
        load_estimator(exported.path, manifest, pinned=False, rules=Rules())


def test_another_minor_version_of_scikit_learn_is_refused_naming_both(tmp_path: Path) -> None:
    exported = train(tmp_path)
    digest = rewritten(exported, libraries=libraries(exported, **{"scikit-learn": OTHER_MINOR}))
    words = f"trained with scikit-learn {OTHER_MINOR}, but this predictor has {HERE}".replace(
        ".", r"\."
    )
    with pytest.raises(RefusedError, match=f"{words}, .*LIBRARY_MISMATCH=warn"):
        Model.open(exported.path, sha256=digest).load()


@pytest.mark.parametrize(
    ("library", "trained", "rules"),
    [
        pytest.param("scikit-learn", OTHER_PATCH, Rules(), id="another patch"),
        pytest.param(
            "scikit-learn", OTHER_MINOR, Rules(on_mismatch="warn"), id="another minor, allowed"
        ),
        pytest.param("numpy", "1.0.0", Rules(), id="another library"),
    ],
)
def test_other_differences_are_warnings(
    library: str, trained: str, rules: Rules, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exported = train(tmp_path)
    digest = rewritten(exported, libraries=libraries(exported, **{library: trained}))
    model = Model.open(exported.path, sha256=digest, rules=rules)
    with caplog.at_level(logging.WARNING):
        model.load()
    (warning,) = caplog.records
    assert vars(warning)["fields"] == {
        "library": library,
        "trained": trained,
        "here": version(library),
    }
    assert model.ready


def test_another_minor_version_is_a_warning_for_skops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exported = train(tmp_path)
    as_skops(exported)
    manifest = Model.open(exported.path).manifest
    changed = manifest.model_copy(update={"libraries": {"scikit-learn": OTHER_MINOR}})
    (exported.path / MANIFEST_NAME).write_text(changed.model_dump_json())
    model = Model.open(exported.path)
    with caplog.at_level(logging.WARNING):
        model.load()
    assert model.ready
    assert [vars(record)["fields"]["trained"] for record in caplog.records] == [OTHER_MINOR]


def test_the_process_names_both_versions_before_it_leaves(tmp_path: Path) -> None:
    exported = train(tmp_path)
    rewritten(exported, libraries=libraries(exported, **{"scikit-learn": OTHER_MINOR}))
    with predictor(exported.path) as running:
        assert running.wait() == EXIT_REFUSED
        wait_until("the log is read", lambda: len(running.logs) >= 2)
    message = running.logs[-1]["message"]
    assert OTHER_MINOR in message
    assert HERE in message


def test_a_faulty_artifact_is_no_less_refused_for_being_skops(tmp_path: Path) -> None:
    broken = faulty.broken(
        faulty.Order(label=Label(name="qna", version="3"), output=tmp_path, rows=400)
    )
    as_skops(broken)
    with pytest.raises(RefusedError, match="example row 0 is answered with"):
        Model.open(broken.path).load()


def test_a_forest_in_skops_needs_no_list(tmp_path: Path) -> None:
    exported = train(tmp_path)
    rows = np.array(exported.manifest.examples.rows)
    forest = RandomForestClassifier(5, random_state=0).fit(rows, np.arange(len(rows)) % 2)
    as_skops(exported, forest)
    manifest = Model.open(exported.path).manifest
    found = load_estimator(exported.path, manifest, pinned=False, rules=Rules())
    assert found.predict(rows).tolist() == forest.predict(rows).tolist()


def test_a_tree_whose_branches_lead_out_of_it_is_refused(tmp_path: Path) -> None:
    exported = train(tmp_path)
    rows = np.array(exported.manifest.examples.rows)
    tree = DecisionTreeClassifier().fit(rows, np.arange(len(rows)) % 2)
    state = tree.tree_.__getstate__()
    for name, value in (
        ("left_child", 10**6),
        ("right_child", 0),
        ("feature", 10**6),
        ("feature", -1),
    ):
        nodes = state["nodes"].copy()
        nodes[name][0] = value
        tree.tree_.__setstate__({**state, "nodes": nodes})
        as_skops(exported, tree)
        manifest = Model.open(exported.path).manifest
        with pytest.raises(RefusedError, match="a tree whose branches lead nowhere"):
            load_estimator(exported.path, manifest, pinned=False, rules=Rules())


def test_a_library_that_is_not_here_is_named(tmp_path: Path) -> None:
    exported = train(tmp_path)
    path = exported.path / "model.joblib"
    # A pickle that names a class of a package that is not installed.
    path.write_bytes(b"cprophet.forecaster\nProphet\n.")
    with pytest.raises(
        RefusedError, match="needs the library 'prophet', which this predictor does not have"
    ):
        load_estimator(exported.path, exported.manifest, pinned=True, rules=Rules())
