"""What training many rankers as one batched problem saves, on random data of PercePiano's shape.

    python benchmarks/rankers.py [--approach siamese] [--comparison antisymmetric] [--features 180]
        [--folds 4] [--seeds 4] [--epochs 5]

Prints processor seconds: folds × seeds together, and one after the other. Training stops nowhere
early, so both do the same steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from pianoeval.params import RunParams
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.registry import RANKERS

N_SEGMENTS, N_TAKES, N_DIMENSIONS = 100, 12, 19


def make_folds(n_features: int, n_folds: int) -> list[RankFold]:
    """Random features with a linear truth; segments stay together."""
    rng = np.random.default_rng(0)
    segment = np.repeat(np.arange(N_SEGMENTS), N_TAKES)
    x = rng.normal(size=(len(segment), n_features)).astype(np.float32)
    truth = rng.normal(size=(n_features, N_DIMENSIONS)) * 0.1 / np.sqrt(n_features)
    y = 0.5 + x @ truth + 0.1 * rng.normal(size=(len(segment), N_DIMENSIONS))
    folds = []
    for number in range(n_folds):
        test = np.flatnonzero(segment % n_folds == number)
        train = np.flatnonzero(segment % n_folds != number)
        held = (segment[train] // n_folds) % 7 == 0
        first, second = np.triu_indices(N_TAKES, 1)
        start = test[::N_TAKES][:, None]
        pairs = np.stack([(start + first).ravel(), (start + second).ravel()], axis=1)
        split = (np.flatnonzero(~held), np.flatnonzero(held))
        folds.append(
            RankFold(
                f"random/{number}", x, segment, segment, np.arange(len(segment)), train, test,
                y[train], np.full((len(train), N_DIMENSIONS), 0.1), pairs, [split], split,
            )
        )  # fmt: skip
    return folds


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--approach", default="siamese")
    parser.add_argument("--comparison", default="antisymmetric")
    parser.add_argument("--features", type=int, default=180)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    folds = make_folds(args.features, args.folds)
    params = RankerParams(
        views=["random"], approach=args.approach, comparison=args.comparison,
        max_epochs=args.epochs, patience=args.epochs, n_seeds=args.seeds,
    )  # fmt: skip
    predict, run = RANKERS[params.approach], RunParams()
    alone = params.model_copy(update={"n_seeds": 1})

    def one_by_one() -> None:
        for seed in range(args.seeds):
            for fold in folds:
                predict([fold], [alone.model_copy(update={"seed": seed})], run)

    predict(folds[:1], [alone.model_copy(update={"max_epochs": 1})], run)  # warm up
    together = seconds(lambda: predict(folds, [params], run))
    apart = seconds(one_by_one)
    n = args.folds * args.seeds
    print(f"{n} replicas, {args.epochs} epochs: together {together:.1f} s, ", end="")
    print(f"one by one {apart:.1f} s, ratio {apart / together:.2f}")


if __name__ == "__main__":
    main()
