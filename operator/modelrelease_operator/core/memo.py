"""The last results of pure functions, so that what is the same is not made twice.

A pass over a release makes what the pass before made: the same Deployments, the same text of each.
It costs nothing to forget one. What it holds is bounded by number, and the longest unused goes
first. Who knows that a key is not asked for soon forgets it: two thousand releases at rest keep
nothing then.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class Memo(Generic[R]):
    """For each key, what one function returned last, and for which inputs.

    A result is given to many: nobody may change it. Inputs are the same where they are equal; of
    values that Python calls equal and JSON does not (1 and true), the key must tell.
    """

    def __init__(self, most: int) -> None:
        """`most` is how many results are kept."""
        self._most = most
        self._known: OrderedDict[Hashable, tuple[Any, R]] = OrderedDict()

    def of(self, key: Hashable, inputs: Any, make: Callable[[], R]) -> R:
        """Return what was made for these inputs, or make it."""
        if self.knows(key, inputs):
            return self._known[key][1]
        made = make()
        self.keep(key, inputs, made)
        return made

    def knows(self, key: Hashable, inputs: Any) -> bool:
        """Return whether the last result is for these inputs; then it stays for longer."""
        known = self._known.get(key)
        if known is None or known[0] != inputs:
            return False
        self._known.move_to_end(key)
        return True

    def keep(self, key: Hashable, inputs: Any, result: R) -> None:
        """Keep a result, in place of the last one."""
        self._known[key] = (inputs, result)
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Keep nothing for a key."""
        self._known.pop(key, None)

    def __len__(self) -> int:
        return len(self._known)
