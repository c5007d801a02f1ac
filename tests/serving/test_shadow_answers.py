"""What a predictor says of the copies that it wants, and how it answers them."""

import asyncio
from typing import Any

import pytest

from modelrelease_contract.shadow import ShadowSettings, ShadowWish
from modelrelease_serving import app as app_module
from modelrelease_serving.app import PredictorApp, create_app
from modelrelease_serving.connections import Drain
from modelrelease_serving.model import Model
from modelrelease_training.export import Exported
from tests.serving.support import settings
from tests.serving.test_app import client_of, sample

WANTED = ShadowSettings(
    share=1, per_second=1000, noise_share=0, slower_ratio=1000, slower_seconds=10
)
INFER = "/v2/models/qna/infer"


@pytest.fixture
def row(artifact: Exported) -> list[Any]:
    return list(artifact.manifest.examples.rows[0])


def canary_of(
    model: Model, *, revision: str = "new", wanted: ShadowSettings | None = WANTED
) -> PredictorApp:
    return create_app(model, settings(release="qna", revision=revision, shadow=wanted))


def matrix(rows: list[list[Any]]) -> dict[str, Any]:
    values = [value for row in rows for value in row]
    shape = [len(rows), len(rows[0])]
    return {"name": "features", "datatype": "FP64", "shape": shape, "data": values}


class TestWhatAPredictorAsksFor:
    async def test_copies_by_its_settings_and_under_its_revision(self, loaded: Model) -> None:
        async with client_of(canary_of(loaded)) as client:
            answer = await client.get("/shadow")
        wish = ShadowWish.model_validate_json(answer.content)
        assert wish == ShadowWish(revision="new", settings=WANTED)

    async def test_nothing_without_settings(self, loaded: Model) -> None:
        async with client_of(canary_of(loaded, wanted=None)) as client:
            assert (await client.get("/shadow")).json() == {"revision": "new", "settings": None}

    async def test_nothing_while_it_loads_or_drains(
        self, artifact: Exported, loaded: Model
    ) -> None:
        loading = canary_of(Model.open(artifact.path))
        drain = Drain()
        drain.start(60)
        options = settings(release="qna", revision="new", shadow=WANTED)
        for app in (loading, create_app(loaded, options, drain=drain)):
            async with client_of(app) as client:
                assert (await client.get("/shadow")).json()["settings"] is None

    async def test_nothing_while_users_are_here(
        self, loaded: Model, row: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with client_of(canary_of(loaded)) as client:
            await client.post("/predict", json={"features": row})
            assert (await client.get("/shadow")).json()["settings"] is None
            monkeypatch.setattr(app_module, "USERS_STAY_SECONDS", 0.0)
            assert (await client.get("/shadow")).json()["settings"] is not None

    @pytest.mark.parametrize("path", ["/probe", "/shadow/predict", "/shadow/infer"])
    async def test_copies_although_others_than_users_ask(
        self, loaded: Model, row: list[Any], path: str
    ) -> None:
        async with client_of(canary_of(loaded)) as client:
            await client.post(path, json={"features": row})
            assert (await client.get("/shadow")).json()["settings"] is not None


class TestACopyIsAnswered:
    async def test_as_a_users_request_is(self, loaded: Model, row: list[Any]) -> None:
        infer = {"inputs": [matrix([row])]}
        async with client_of(canary_of(loaded)) as client:
            for path, users, body in (
                ("/shadow/predict", "/predict", {"features": row}),
                ("/shadow/predict", "/predict", {"features": row[:3]}),
                ("/shadow/infer", INFER, infer),
                ("/shadow/infer", INFER, {}),
            ):
                copy, user = await client.post(path, json=body), await client.post(users, json=body)
                assert (copy.status_code, copy.content) == (user.status_code, user.content)

    async def test_with_the_time_that_the_model_took_for_it_alone(
        self, loaded: Model, row: list[Any]
    ) -> None:
        async with client_of(canary_of(loaded)) as client:
            copy = await client.post("/shadow/predict", json={"features": row})
            assert 0 < float(copy.headers["X-Shadow-Seconds"]) < 10
            for path in ("/predict", "/probe"):
                answer = await client.post(path, json={"features": row})
                assert "X-Shadow-Seconds" not in answer.headers

    async def test_with_it_although_other_copies_wait(self, loaded: Model, row: list[Any]) -> None:
        # Probabilities are never computed at once, so that all wait together.
        body = {"features": row, "probabilities": True}
        async with client_of(canary_of(loaded)) as client:
            answers = await asyncio.gather(
                *(client.post("/shadow/predict", json=body) for _ in range(3))
            )
        assert all("X-Shadow-Seconds" in answer.headers for answer in answers)

    async def test_without_it_where_it_shares_the_call_with_a_user(
        self, loaded: Model, row: list[Any]
    ) -> None:
        body, paths = {"features": row, "probabilities": True}, ("/shadow/predict", "/predict")
        async with client_of(canary_of(loaded)) as client:
            answers = await asyncio.gather(*(client.post(path, json=body) for path in paths))
        assert [answer.status_code for answer in answers] == [200, 200]
        assert not any("X-Shadow-Seconds" in answer.headers for answer in answers)

    async def test_with_503_while_a_user_waits(self, loaded: Model, row: list[Any]) -> None:
        body, paths = {"features": row, "probabilities": True}, ("/predict", "/shadow/predict")
        async with client_of(canary_of(loaded)) as client:
            answers = await asyncio.gather(*(client.post(path, json=body) for path in paths))
        assert [answer.status_code for answer in answers] == [200, 503]

    async def test_are_wanted_only_once_the_pod_is_warm(self, loaded: Model) -> None:
        wanted = WANTED.model_copy(update={"warm_up_seconds": 3600.0})
        async with client_of(canary_of(loaded, wanted=wanted)) as client:
            assert (await client.get("/shadow")).json()["settings"] is None
        async with client_of(canary_of(loaded)) as client:
            assert (await client.get("/shadow")).json()["settings"] is not None

    async def test_and_counted_apart_from_users(self, loaded: Model, row: list[Any]) -> None:
        async with client_of(canary_of(loaded)) as client:
            assert await sample(client, "shadow_predictions_total", code="200") == 0
            await client.post("/shadow/predict", json={"features": row})
            await client.post("/shadow/predict", json={"features": row[:3]})
            await client.post("/shadow/infer", json={"inputs": [matrix([row])]})
            assert await sample(client, "shadow_predictions_total", code="200") == 2
            assert await sample(client, "shadow_predictions_total", code="422") == 1
            assert await sample(client, "predictions_total", code="200") == 0
            assert await sample(client, "prediction_duration_seconds_count") == 0
            assert await sample(client, "prediction_bin_total") == 0
            assert await sample(client, "probe_predictions_total", code="200") == 0
