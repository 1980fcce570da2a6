"""Which questions come next."""

import numpy as np


class Shuffle:
    """Every question once an epoch, in an order drawn on (seed, epoch).

    The batch follows from its number alone, so there is no state to save: a resumed run
    asks for the next number. Batches run on over the end of an epoch, nothing is dropped.

    Args:
        questions: number of questions there are.
        batch: questions a rollout batch, Q.
        seed: of the shuffle; None keeps the order of the data.
    """

    def __init__(self, questions: int, batch: int, seed: int | None):
        self.questions, self.batch, self.seed = questions, batch, seed

    def ids(self, number: int) -> list[int]:
        """Row numbers of the questions of rollout batch `number` (from 0), length Q."""
        places = np.arange(number * self.batch, (number + 1) * self.batch)
        epochs = {epoch: self._order(epoch) for epoch in np.unique(places // self.questions)}
        return [int(epochs[p // self.questions][p % self.questions]) for p in places]

    def _order(self, epoch: int) -> np.ndarray:
        if self.seed is None:
            return np.arange(self.questions)
        return np.random.default_rng([self.seed, epoch]).permutation(self.questions)
