"""The base of what a gate asks, of which there is one class a kind."""

from typing import ClassVar

from modelrelease_operator.api.model import Model


class GateSettings(Model):
    """What a gate asks, of one kind."""

    kind: ClassVar[str]
    """The name of its field in a gate, as people write it."""
    by_probes: ClassVar[bool] = False
    """Whether the prober's requests can answer it where users are few."""

    @property
    def asks(self) -> str:
        """What a server must count for it: the name under which a server says that it cannot."""
        return self.kind
