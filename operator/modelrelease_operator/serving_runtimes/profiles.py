"""Model servers that are known by name: one data file each, in the folder of the same name.

A file says of a server what a release could say in spec.serving.runtime, and where that is known
from. docs/how-to/add-a-serving-runtime.md says how another is written.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

import yaml
from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from modelrelease_operator.api.serving_runtime import Runtime
from modelrelease_operator.serving_runtimes.predictor import LANGUAGE

FOLDER = files(__package__) / "profiles"
SUFFIX = ".yaml"


class Profile(Runtime):
    """A server that is known by name."""

    model_config = ConfigDict(**{**Runtime.model_config, "extra": "forbid"})

    title: str
    """As its makers write it."""
    sources: tuple[str, ...] = Field(min_length=1)
    """Where the names and numbers are known from, beside a run: repository, commit and file."""
    ran: str = ""
    """Which version of the real server was run, where, when, and what was looked at. Empty: what
    is said of it is known from its sources alone."""
    page: Literal["recorded", "from source", "none"]
    """What the profile is tested on: a page that the server showed, one that was written after its
    source, or nothing, for servers that show nothing of use."""
    released: bool = False
    """Whether the tests on a cluster promote the real server and take it back."""
    env: Mapping[str, str] = Field(default_factory=dict)
    """Variables that no release may change. Kubernetes fills in `$(MODEL_PATH)` and its like."""
    refused: Mapping[str, str] = Field(default_factory=dict)
    """What gates ask for (`GateSettings.asks`) that its counters cannot answer, and why."""
    needs: tuple[str, ...] = ()
    """What whoever uses it has to do: a flag of the server, say."""
    traps: tuple[str, ...] = ()
    """What its counters do not show, or show otherwise than one thinks."""

    @model_validator(mode="after")
    def _says_what_ran_to_show_a_recorded_page(self) -> "Profile":
        if self.page == "recorded" and not self.ran:
            msg = f"{self.title}: a page is recorded from a server that ran: say in `ran` which one"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _says_why_a_gate_is_refused(self) -> "Profile":
        lacking = set()
        if not self.metrics.requests:
            lacking.add("errorRate")
        if self.metrics.duration is None:
            lacking.add("latency")
        answered = {to_camel(name) for name in self.metrics.model_fields_set} & {*LANGUAGE}
        if answered:
            lacking |= {*LANGUAGE} - answered
        if set(self.refused) != lacking:
            msg = f"{self.title}: `refused` must say why there is no {sorted(lacking)}, and no more"
            raise ValueError(msg)
        return self


@cache
def profiles() -> Mapping[str, Profile]:
    """Return every profile by its name: read once."""
    found = {
        file.name.removesuffix(SUFFIX): Profile.model_validate(yaml.safe_load(file.read_text()))
        for file in FOLDER.iterdir()
        if file.name.endswith(SUFFIX)
    }
    return MappingProxyType(dict(sorted(found.items())))
