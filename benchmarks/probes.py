"""How long probes take, on random data of PercePiano's shape (1,202 clips, 19 dimensions).

    python benchmarks/probes.py [--features 97] [--folds 16] [--epochs 20]

Prints processor seconds, which neighbours on the machine disturb less than wall time:
the perceptron of all folds as one batch, fold by fold, and as a plain ``torch.nn`` loop;
ridge against scikit-learn's grid search; boosting on binned features against exact splits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pianoeval.models.base import Fold
from pianoeval.models.mlp import predict_mlp
from pianoeval.models.ridge import predict_ridge
from pianoeval.models.trees import predict_boosting, predict_extra_trees, tree_inputs
from pianoeval.params import BoostingParams, MlpParams, RidgeParams, RunParams, TreeParams

N_CLIPS, N_DIMENSIONS, N_GROUPS = 1202, 19, 45
LAMBDAS = [float(10**power) for power in np.arange(0, 6, 0.5)]


def make_folds(n_features: int, n_folds: int) -> list[Fold]:
    """Random features with a linear truth; clips of a group stay together."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_CLIPS, n_features)).astype(np.float32)
    truth = rng.normal(size=(n_features, N_DIMENSIONS)) * 0.1 / np.sqrt(n_features)
    y = 0.5 + x @ truth + 0.1 * rng.normal(size=(N_CLIPS, N_DIMENSIONS))
    group = rng.integers(0, N_GROUPS, N_CLIPS)
    folds = []
    for number in range(n_folds):
        test = np.flatnonzero(group % n_folds == number)
        train = np.flatnonzero(group % n_folds != number)
        part = group[train] % 4
        inner = [(np.flatnonzero(part != p), np.flatnonzero(part == p)) for p in range(4)]
        held = group[train] % 7 == 0
        split = (np.flatnonzero(~held), np.flatnonzero(held))
        folds.append(Fold(f"random/{number}", x, train, test, y[train], inner, split))
    return folds


def plain_loop(folds: list[Fold], params: MlpParams) -> None:
    """What a script usually does: one fold after the other with torch.nn and autograd."""
    for fold in folds:
        assert fold.validation is not None
        fit, held = fold.validation
        z = torch.from_numpy(fold.standardised()[: fold.n_train].astype(np.float32))
        y = torch.from_numpy(fold.y.astype(np.float32))
        model = torch.nn.Sequential(
            torch.nn.Linear(z.shape[1], params.hidden), torch.nn.Dropout(params.dropout),
            torch.nn.ReLU(), torch.nn.Linear(params.hidden, y.shape[1]),
        )  # fmt: skip
        adam = torch.optim.Adam(
            model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay
        )
        for _ in range(params.max_epochs):
            model.train()
            for rows in torch.from_numpy(np.random.permutation(fit)).split(params.batch_size):
                adam.zero_grad()
                torch.nn.functional.mse_loss(model(z[rows]), y[rows]).backward()
                adam.step()
            model.eval()
            with torch.no_grad():
                torch.nn.functional.mse_loss(model(z[held]), y[held])


def grid_search(folds: list[Fold]) -> None:
    """Ridge with λ by scikit-learn's exhaustive search on the same inner folds."""
    for fold in folds:
        pipeline = make_pipeline(StandardScaler(), Ridge())
        grid = GridSearchCV(pipeline, {"ridge__alpha": LAMBDAS}, cv=fold.inner)
        grid.fit(fold.x[fold.train].astype(float), fold.y).predict(fold.x[fold.test].astype(float))


def exact_boosting(fold: Fold, params: BoostingParams) -> None:
    """One dimension with exact splits."""
    train, test = tree_inputs(fold, params)
    model = GradientBoostingRegressor(
        n_estimators=params.n_estimators, learning_rate=params.learning_rate,
        max_depth=params.max_depth, min_samples_leaf=params.min_samples_leaf,
        max_features=params.max_features, subsample=0.7, random_state=params.seed,
    )  # fmt: skip
    model.fit(train, fold.y[:, 0]).predict(test)


def timed(name: str, work: Callable[[], object], fits: int) -> float:
    """Run, print and return processor seconds a fit."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:<42} {cpu:8.2f} s cpu {wall:8.2f} s wall {1000 * cpu / fits:10.1f} ms cpu/fit")
    return cpu / fits


def main() -> None:
    """Print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=97)
    parser.add_argument("--folds", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    folds = make_folds(options.features, options.folds)
    mlp = MlpParams(max_epochs=options.epochs, patience=options.epochs)
    ridge, one = RidgeParams(lambdas=LAMBDAS), RunParams(workers=1)
    n = len(folds)
    predict_mlp(folds[:1], mlp.model_copy(update={"max_epochs": 1}))  # first-call costs
    batched = timed("mlp, all folds in one batch", lambda: predict_mlp(folds, mlp), n)
    alone = timed("mlp, fold by fold", lambda: [predict_mlp([f], mlp) for f in folds], n)
    plain = timed("mlp, plain torch.nn loop", lambda: plain_loop(folds, mlp), n)
    print(f"  ratio to the batch: fold by fold {alone / batched:.2f}, plain {plain / batched:.2f}")
    ours = timed("ridge, one decomposition an inner fold", lambda: predict_ridge(folds, ridge), n)
    theirs = timed("ridge, scikit-learn grid search", lambda: grid_search(folds[:2]), 2)
    print(f"  ratio {theirs / ours:.1f}")
    timed("extra trees", lambda: predict_extra_trees(folds[:2], TreeParams(), one), 2)
    binned = timed(
        "boosting, 64 levels",
        lambda: predict_boosting(folds[:1], BoostingParams(), one),
        N_DIMENSIONS,
    )
    exact = timed("boosting, exact splits", lambda: exact_boosting(folds[0], BoostingParams()), 1)
    print(f"  ratio {exact / binned:.1f}")


if __name__ == "__main__":
    main()
