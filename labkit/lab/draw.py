"""Values that differ from learner to learner and are the same at each run: names, ports, limits.

A draw is a function of the seed, the exercise and how many draws came before. It is SHA-256 and
not random.Random, whose methods may change what they return from one Python version to the next.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from labkit.errors import InvalidParameter

T = TypeVar("T")

WORDS = (
    "acorn amber anchor apple aspen badger bamboo barley basil beacon beaver birch biscuit bramble "
    "breeze brook butter candle canoe carrot cedar cherry clover cobalt comet copper coral cotton "
    "cricket dahlia daisy dolphin ember falcon fennel fern finch garnet ginger glacier hazel heron "
    "honey indigo island ivory jasmine juniper kettle lantern lemon linen lotus magnet maple "
    "meadow melon mint nutmeg olive onyx orchid otter pebble pepper pigeon pine plum poppy quartz "
    "rabbit raven river robin saffron sage salmon sparrow spruce sunset thistle thyme tulip "
    "turnip velvet violet walnut willow wren"
).split()

#: below the kernel's ephemeral range (32768 and up, ip(7)) and above the well known services
PORTS = (20000, 29999)


class Draw:
    """One stream of values for one exercise."""

    def __init__(self, seed: int, id: str) -> None:
        self.seed, self.id = seed, id
        self._count = 0
        self._names: set[str] = set()

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        if high < low:
            raise InvalidParameter(f"nothing to draw between {low} and {high}")
        return low + int.from_bytes(self._digest()) % (high - low + 1)

    def name(self) -> str:
        """A friendly lower-case word, never the same twice."""
        free = [word for word in WORDS if word not in self._names]
        if not free:
            raise InvalidParameter(f"all {len(WORDS)} names are drawn")
        word = self.choice(free)
        self._names.add(word)
        return word

    def port(self) -> int:
        """A TCP or UDP port that no well known service and no outgoing connection uses."""
        return self.number(*PORTS)

    def nonce(self) -> str:
        """Sixteen hexadecimal digits that cannot be guessed without the seed."""
        return self._digest().hex()[:16]

    def mib(self, low: int, high: int) -> int:
        """A size in MiB from low to high; both in MiB."""
        return self.number(low, high)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.number(0, len(options) - 1)]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All options in a drawn order."""
        left = list(options)
        return [left.pop(self.number(0, len(left) - 1)) for _ in options]

    def _digest(self) -> bytes:
        self._count += 1
        return hashlib.sha256(f"{self.seed}/{self.id}/{self._count}".encode()).digest()
