"""Kernel regression of one fold on several views at once, as an item of the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pianoeval.cache import ItemCache, item_key
from pianoeval.models.base import Fold, FoldPrediction
from pianoeval.models.kernel_ridge import predict_views
from pianoeval.params_probe import KernelRidgeParams

STEP = "kernel"
CODE_VERSION = 1


def kernel_fold(
    folds: Sequence[Fold], read: Mapping[str, str], params: KernelRidgeParams, cache: ItemCache
) -> FoldPrediction:
    """:func:`~pianoeval.models.kernel_ridge.predict_views` of one fold, from the cache or trained.

    Parameters
    ----------
    folds : sequence of Fold
        The same fold of each view.
    read : mapping of str
        By view, in the order of ``folds``: a digest of all that ``kernel_ridge`` on it would read.
    """
    config = {"fold": folds[0].name, "views": list(read), "parameters": params}
    key = item_key(STEP, CODE_VERSION, read, config)
    item = cache.get(STEP, key)
    if item is not None:
        return FoldPrediction(np.array(item.arrays["values"]), dict(item.meta["selection"]))
    made = predict_views(folds, params)
    cache.put(STEP, key, {"values": made.values}, {"selection": made.selection})
    return made
