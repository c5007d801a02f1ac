"""The one error that a person sees: what is wrong, and what to do next."""


class ClusterError(Exception):
    """Something about the cluster that the caller has to know, with the next step to take."""

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(f"{problem}\n  what to do: {next_step}" if next_step else problem)
        self.problem = problem
        self.next_step = next_step
