"""Which of several operators looks after a namespace: exactly one, by a hash of its name.

Each of n operators has a number from 0 to n-1, and a Lease of its own for it. Two of different n
would share namespaces, so all of one n hold a common Lease besides, which those of another n wait
for. It is the one that an operator without a shard holds, and so does such a one.
"""

import hashlib
from dataclasses import dataclass

from modelrelease_operator.api import names

SHARDS = " shards"


@dataclass(frozen=True, slots=True)
class Shard:
    """One of so many operators."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard of a text such as `0/3`, the only one of an empty text.

        Raises ValueError for what is none.
        """
        if not text:
            return cls()
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            msg = f"{text!r} is no shard: give its number from 0 and how many there are, as 0/3"
            raise ValueError(msg)
        return cls(int(index), int(count))

    def holds(self, namespace: str) -> bool:
        """Return whether the releases of a namespace are this operator's."""
        if self.count == 1:
            return True
        digest = hashlib.blake2b(namespace.encode(), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index

    @property
    def lease_name(self) -> str:
        """Return the name of the Lease that one operator of this shard holds."""
        if self.count == 1:
            return names.FIELD_MANAGER
        return f"{names.FIELD_MANAGER}-{self.index}-of-{self.count}"

    @property
    def common_holder(self) -> str | None:
        """Return as whom all shards hold the common Lease, None where there are no shards."""
        return f"{self.count}{SHARDS}" if self.count > 1 else None


def shards_of(common_holder: str) -> list[Shard]:
    """Return the shards that hold the common Lease; none where an operator without shards does."""
    count = common_holder.removesuffix(SHARDS)
    if count == common_holder or not count.isdecimal():
        return []
    return [Shard(index, int(count)) for index in range(int(count))]
