"""Extra trees (Geurts et al., 2006) and gradient boosting (Friedman, 2001), by scikit-learn.

Extra trees are multi-output; boosting fits one model a dimension, on features cut into
``max_bins`` levels (on PercePiano's symbolic features 64 levels are as accurate as exact splits
and six times faster, see ``benchmarks/probes.py``). Views with more than
``pca_above`` features are first reduced to ``pca_components`` principal components of the
standardised features, fitted on the training clips of the fold. Missing values become the
training median.

Results do not depend on the number of workers: every fit is seeded on its own, sums over clips and
over trees are taken in one thread, hence in one order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from pianoeval.models.base import Float32, Float64, Fold, FoldPrediction
from pianoeval.params import BoostingParams, RunParams, TreeParams


def _n_jobs(run: RunParams) -> int:
    """Workers; 0 in the parameters means one for each core that this process may use."""
    return int(effective_n_jobs(run.workers or -1))


def tree_inputs(fold: Fold, params: TreeParams | BoostingParams) -> tuple[Float32, Float32]:
    """Training and test features, float32, complete, and narrow enough for trees."""
    if fold.x.shape[1] > params.pca_above:
        rows = fold.principal_components(params.pca_components)
    else:
        rows = fold.standardised()
    narrow = rows.astype(np.float32)
    return narrow[: fold.n_train], narrow[fold.n_train :]


def predict_extra_trees(
    folds: Sequence[Fold], params: TreeParams, run: RunParams
) -> list[FoldPrediction]:
    """One multi-output forest a fold."""
    predictions = []
    for fold in folds:
        train, test = tree_inputs(fold, params)
        forest = ExtraTreesRegressor(
            n_estimators=params.n_estimators,
            min_samples_leaf=params.min_samples_leaf,
            max_features=params.max_features,
            random_state=params.seed,
            n_jobs=_n_jobs(run),
        )
        forest.fit(train, fold.y if fold.y.shape[1] > 1 else fold.y[:, 0])
        forest.n_jobs = 1  # several threads would add the trees up in changing order
        values = forest.predict(test).reshape(len(test), fold.y.shape[1])
        predictions.append(FoldPrediction(values.astype(np.float64)))
    return predictions


def _boost(train: Float32, y: Float64, test: Float32, params: BoostingParams) -> Float64:
    """One dimension of one fold: predictions, shape (n_test,)."""
    model = HistGradientBoostingRegressor(
        max_iter=params.n_estimators,
        learning_rate=params.learning_rate,
        max_depth=params.max_depth,
        min_samples_leaf=params.min_samples_leaf,
        max_features=params.max_features,
        max_bins=params.max_bins,
        early_stopping=False,
        random_state=params.seed,
    )
    with threadpool_limits(1, user_api="openmp"):
        return np.asarray(model.fit(train, y).predict(test), dtype=np.float64)


def predict_boosting(
    folds: Sequence[Fold], params: BoostingParams, run: RunParams
) -> list[FoldPrediction]:
    """One boosted ensemble a fold and dimension, spread over worker processes."""

    def jobs() -> Iterator[object]:
        for fold in folds:
            train, test = tree_inputs(fold, params)
            for dimension in range(fold.y.shape[1]):
                yield delayed(_boost)(train, fold.y[:, dimension], test, params)

    columns = Parallel(n_jobs=_n_jobs(run))(jobs())
    predictions, start = [], 0
    for fold in folds:
        stop = start + fold.y.shape[1]
        predictions.append(FoldPrediction(np.stack(columns[start:stop], axis=1)))
        start = stop
    return predictions
