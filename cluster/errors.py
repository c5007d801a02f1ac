"""The one error that a person sees: what is wrong, and what to do next."""


class ClusterError(Exception):
    """Something about the cluster that the caller has to know, with the next step to take."""

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  what to do: {self.next_step}" if self.next_step else self.what
