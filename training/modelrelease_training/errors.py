"""What can go wrong, each with the exit code that a script can tell it by."""

from typing import ClassVar, Final

EXIT_USAGE: Final = 2
"""The request cannot be met: a bad argument, a file or a server that is not there."""
EXIT_INVALID: Final = 3
"""The data breaks its schema."""
EXIT_REFUSED: Final = 4
"""The challenger was not accepted."""


class TrainingError(Exception):
    """One sentence for the person who asked: object, rule, value, and what to do next."""

    exit_code: ClassVar[int] = EXIT_USAGE


class DataError(TrainingError):
    """A file cannot be read as a table."""


class InvalidDataError(TrainingError):
    """A table breaks its schema."""

    exit_code = EXIT_INVALID


class ArtifactError(TrainingError):
    """A folder holds no artifact, or one that was changed after it was exported."""


class ExistsError(TrainingError):
    """This version has been exported before, and versions do not change."""


class RegistryError(TrainingError):
    """MLflow does not answer, or does not hold what was asked for."""


class NotRegisteredError(RegistryError):
    """MLflow answers, and there is no such model, version or alias."""


class RefusedError(TrainingError):
    """The challenger was measured, and may not take the champion's place."""

    exit_code = EXIT_REFUSED
