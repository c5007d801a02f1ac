"""Child processes that hear SIGINT, wherever the tests themselves were started."""

import signal


def hear_interrupts() -> None:
    """For `preexec_fn`: a shell's background jobs ignore SIGINT, and their children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
