"""Gated fusion of one fold as an item of the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pianoeval.cache import ItemCache, item_key
from pianoeval.models.base import Fold, FoldPrediction
from pianoeval.models.gated import predict_gated
from pianoeval.params import MlpParams

STEP = "gated"
CODE_VERSION = 1


def gated_fold(
    folds: Sequence[Fold], read: Mapping[str, str], params: MlpParams, cache: ItemCache
) -> FoldPrediction:
    """The gated unit of one fold, from the cache or trained.

    Parameters
    ----------
    folds : sequence of Fold
        The same fold of each view.
    read : mapping of str
        By view, in the order of ``folds``: a digest of all that a perceptron on it would read.
    """
    config = {"fold": folds[0].name, "views": list(read), "mlp": params}
    key = item_key(STEP, CODE_VERSION, read, config)
    item = cache.get(STEP, key)
    if item is not None:
        return FoldPrediction(np.array(item.arrays["values"]), dict(item.meta["selection"]))
    made = predict_gated(folds, params)
    cache.put(STEP, key, {"values": made.values}, {"selection": made.selection})
    return made
