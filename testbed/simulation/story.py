"""What happened, in the order of time, for whoever has to understand a seed that failed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from testbed.simulation.virtual_time import BEGINNING, Timeline


@dataclass
class Story:
    """Lines that are written out only when somebody reads them."""

    timeline: Timeline
    lines: list[tuple[float, str, tuple[object, ...]]] = field(default_factory=list)

    def tell(self, words: str, *about: object) -> None:
        """Remember what happened now; `words` has a `{}` for each of `about`."""
        self.lines.append((self.timeline.now, words, about))

    def told(self) -> str:
        """Return all of it, a line each with the seconds since the beginning."""
        return "\n".join(
            f"{at - BEGINNING:9.2f} s  {words.format(*about)}" for at, words, about in self.lines
        )


Tell = Callable[..., None]
