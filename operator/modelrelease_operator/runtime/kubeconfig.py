"""What is said of a kubeconfig that cannot be used, whoever reads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import yaml
from kubernetes.aio import config as kube_config

from modelrelease_operator.errors import Invalid

_UNUSABLE: Final = (
    kube_config.ConfigException, yaml.YAMLError, OSError, TypeError, ValueError, LookupError,
    AttributeError, RecursionError,
)  # fmt: skip
"""What the client raises for a kubeconfig that is none, or whose certificates cannot be read."""


@contextmanager
def reading_kubeconfig() -> Iterator[None]:
    """Raise Invalid, with what to do, where the client cannot use what it reads."""
    try:
        yield
    except _UNUSABLE as problem:
        msg = (
            f"the kubeconfig cannot be used: {problem}; set KUBECONFIG, or name a context that it "
            "has"
        )
        raise Invalid(msg) from problem
