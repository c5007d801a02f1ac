"""What can go wrong, with one sentence that says what to do next."""

from modelrelease_training.errors import TrainingError


class DriftError(TrainingError):
    """A request that cannot be met: a bad file, a baseline of another encoder, a wrong setting."""
