"""The Prefect flow `retrain-flow`: each step is retried where another try can help, and remembered.

What a step of a request has finished is kept below Prefect's home, so a request that is asked again
goes on where it stopped, in this process or another.
"""

from collections.abc import Callable
from typing import Any, Final

from prefect import flow, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.runtime import flow_run

from modelrelease_training.errors import RegistryError
from modelrelease_training.flow import steps
from modelrelease_training.flow.request import Request
from modelrelease_training.gitops import GitOpsError

FLOW: Final = "retrain-flow"
DEPLOYMENT: Final = "production-retrain"
_DELAYS: Final = [2.0, 10.0, 30.0]
_ANY: Final = Request()
_WORTH_ANOTHER_TRY: Final = (OSError, RegistryError, GitOpsError)


def _key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Name what a step of a request finished: differently for another request or content."""
    return f"{parameters['request'].key}-{context.task.name}"


def _another_try_can_help(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Return whether a step failed by the world around it, not by what it was given."""
    return isinstance(state.result(raise_on_failure=False), _WORTH_ANOTHER_TRY)


def _step(work: Callable[..., steps.Fields], *, retries: int = 0) -> Any:
    as_task = task(
        name=work.__name__,
        retries=retries,
        retry_delay_seconds=_DELAYS[:retries],
        retry_condition_fn=_another_try_can_help,
        persist_result=True,
        result_serializer="json",
        cache_key_fn=_key,
    )
    return as_task(work)


bring = _step(steps.bring, retries=3)
check = _step(steps.check)
train = _step(steps.train)
judge = _step(steps.judge, retries=3)
register = _step(steps.register, retries=3)
release = _step(steps.release, retries=3)


def _name_of_run() -> str:
    """Return a name that the run keeps when it is tried again, and no other run has."""
    begun = flow_run.get_scheduled_start_time()
    return f"{begun:%Y%m%d-%H%M%S}-{str(flow_run.get_id() or '')[:6]}".rstrip("-")


def _retrain(request: Request = _ANY) -> steps.Fields:
    """Retrain a model and release it as a canary, unless it is worse than the champion."""
    request = request.named(_name_of_run())
    data = check(request, bring(request))
    trained = train(request, data)
    verdict = judge(request, data, trained)
    answer = {"request": request.id, "model": request.model, "version": request.label, **verdict}
    if not verdict["accepted"]:
        steps.tell(
            "retrain", request, f"{request.model} {request.label} is refused: {verdict['reason']}"
        )
        return answer
    registered = register(request, trained)
    released = release(request, trained, registered)
    steps.tell(
        "retrain", request, f"{request.model} {request.label} is released: {verdict['reason']}"
    )
    return {**answer, "registered": registered, **released}


retrain: Any = flow(name=FLOW, log_prints=True, persist_result=True, result_serializer="json")(
    _retrain
)
