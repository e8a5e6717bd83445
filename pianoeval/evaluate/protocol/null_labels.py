"""Whether shuffled labels were predicted better than chance allows: an exact test.

Given a fold's training labels, a model's predictions are fixed, and which clip tested there has
which of the remaining shuffled labels is a uniform permutation. So Σ y'·p of the fold is compared
with its values after permuting y' among the fold's clips (Good 2005, chapter 3): no assumption
about clusters, and no more false alarms than asked for, however small the corpus.

Folds are not added up: with exchanged roles of training and test, two folds repeat one another
(y_f'K y_g in both), so their sum varies more than independent permutations show. Each is tested
alone, and the smallest p multiplied by their number (Bonferroni).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import BadInputError

_BLOCK = 1000


def null_p(
    y: NDArray[np.float64],
    p: NDArray[np.float64],
    fold: NDArray[np.int64],
    n_draws: int,
    seed: int,
) -> float:
    """How likely shuffled labels are to be predicted so well by chance.

    Parameters
    ----------
    y, p : float64, shape (n, D)
        Shuffled labels and predictions of them; complete.
    fold : int64, shape (n,)
        Fold that tests each clip.
    n_draws : int
        Permutations of each fold; p is never below folds / (``n_draws`` + 1).
    seed : int

    Returns
    -------
    float
        In (0, 1]; 1 where labels or predictions do not vary inside folds.

    Raises
    ------
    BadInputError
        A label or prediction is missing.
    """
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        raise BadInputError("shuffled labels, or predictions of them, are incomplete")
    spread = y.std(axis=0)
    varies = spread > 0
    random = np.random.default_rng(seed)
    numbers = np.unique(fold)
    smallest = 1.0
    for number in numbers:
        rows = fold == number
        found = _fold_p(y[rows][:, varies] / spread[varies], p[rows][:, varies] / spread[varies],
                        n_draws, random)  # fmt: skip
        smallest = min(smallest, found)
    return min(1.0, smallest * len(numbers))


def _fold_p(
    y: NDArray[np.float64], p: NDArray[np.float64], n_draws: int, random: np.random.Generator
) -> float:
    """Share of permutations of the rows of ``y`` that fit ``p`` as well as they stand."""
    product = (y - y.mean(axis=0)) @ (p - p.mean(axis=0)).T  # label of row i at the place of j
    place = np.arange(len(y))
    observed = product[place, place].sum()
    tolerance = 1e-9 * max(1.0, float(np.abs(product).sum()))
    as_good = 0
    for start in range(0, n_draws, _BLOCK):
        size = min(_BLOCK, n_draws - start)
        orders = random.permuted(np.tile(place, (size, 1)), axis=1)
        as_good += int((product[orders, place].sum(axis=1) >= observed - tolerance).sum())
    return (1 + as_good) / (1 + n_draws)
