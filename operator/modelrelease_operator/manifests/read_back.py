"""From a Deployment back to the revision that it runs, for a release whose status was lost."""

from collections.abc import Iterable

from modelrelease_contract import runtime
from modelrelease_operator.api import names
from modelrelease_operator.api.status import Recipe, Target
from modelrelease_operator.manifests.settled import Object, template_of


def read_back(live: Object) -> Target | None:
    """Return the revision that a Deployment of ours runs, or None where it does not tell.

    Its pod template becomes the recipe's: laid over what is rendered, it gives the same pods again.
    """
    labels = live["metadata"].get("labels") or {}
    revision, version = labels.get(names.LABEL_REVISION), labels.get(names.LABEL_VERSION)
    template = template_of(live)
    fetch = _named(template.get("spec", {}).get("initContainers") or (), "fetch")
    variables = {
        item["name"]: item.get("value") for item in fetch.get("env") or () if "name" in item
    }
    uri, sha256 = variables.get(runtime.ENV_MODEL_URI), variables.get(runtime.ENV_MODEL_SHA256)
    image = fetch.get("image")
    if not (revision and version and uri and sha256 and image):
        return None
    recipe = Recipe(image=image, pod_template=template)
    return Target(revision=revision, version=version, uri=uri, sha256=sha256, recipe=recipe)


def _named(containers: Iterable[Object], name: str) -> Object:
    return next((container for container in containers if container.get("name") == name), {})
