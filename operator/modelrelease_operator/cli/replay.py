"""Not there yet."""

from modelrelease_operator.cli.common import Commands


def add(commands: Commands) -> None:
    """Add nothing."""
