"""Random numbers drawn in large blocks and handed out in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class Draws:
    """Hands out what `draw(n)` draws; calling it gives the next n numbers, (n,)."""

    def __init__(self, draw: Callable[[int], np.ndarray], block: int = 1 << 16) -> None:
        self.draw, self.block = draw, block
        self.left = np.zeros(0)
        self.position = 0

    def __call__(self, n: int) -> np.ndarray:
        numbers = self.ahead(n)
        self.use(n)
        return numbers

    def ahead(self, n: int) -> np.ndarray:
        """The next n numbers, which stay the next ones until `use` says how many of them were used."""
        if self.position + n > len(self.left):
            self.left, self.position = self.draw(max(n, self.block)), 0
        return self.left[self.position : self.position + n]

    def use(self, n: int) -> None:
        """The next n numbers are used."""
        self.position += n
