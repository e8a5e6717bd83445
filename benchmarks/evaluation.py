"""Time of a whole evaluation, and of one statistic, ours against ``scipy.stats.bootstrap``.

    python benchmarks/evaluation.py [--models 20] [--draws 10000] [--workers 2]

The corpus is made up with the size of PercePiano: 1,200 clips, 47 content groups, 37 players, 19
dimensions; five schemes, all clips and those of humans. All metrics, BCa intervals of two-way
draws, rank correlations with jackknife intervals. scipy resamples the same two factors (as two
samples) with a function that weights clips, in a loop over draws. CPU seconds are given beside wall
seconds: on a busy machine only the former can be compared.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy import stats

from pianoeval.evaluate.results import solve
from pianoeval.evaluate.scoring import Problem, Scale
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import Design, same_group_pairs
from pianoeval.evaluate.tables import ModelKey
from pianoeval.params import EvaluateParams

# Segments and players of each piece; the first player of a piece is no human.
PIECES = ((64, 13), (17, 14), (13, 10))
DIMENSIONS, SCIPY_DRAWS = 19, 1000


def clips() -> pd.DataFrame:
    """Every player of a piece plays each of its segments; two segments share their notes."""
    rows = [
        (piece, f"{piece}/{segment:02d}", f"{piece}/{segment // 2:02d}", f"{piece}/{player:02d}")
        for piece, (n_segments, n_players) in enumerate(PIECES)
        for segment in range(n_segments)
        for player in range(n_players)
    ]
    return pd.DataFrame(rows, columns=["piece", "segment", "group", "player"])


def codes(column: pd.Series) -> np.ndarray:
    """Names as numbers from 0."""
    return np.unique(column.to_numpy(), return_inverse=True)[1]


def folds(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The fold of each clip by scheme, as the schemes of the pipeline would cut them."""
    segment, group, player = (codes(table[name]) for name in ("segment", "group", "player"))
    piece = table["piece"].to_numpy()
    return {
        "segment": segment % 4,
        "content": group % 4,
        "player": player % 4,
        "movement": piece,
        "movement_player": piece * 4 + player % 4,
    }


def problems(n_models: int) -> Iterator[Problem]:
    """Five schemes, two subsets."""
    table, random = clips(), np.random.default_rng(0)
    y = np.round(random.normal(0.5, 0.12, (len(table), DIMENSIONS)), 2)
    human = ~table["player"].str.endswith("/00").to_numpy()
    for scheme, fold in folds(table).items():
        found = {
            ModelKey(f"view{i}", "ridge", 0): 0.5 * y + random.normal(0.25, 0.06, y.shape)
            for i in range(n_models)
        }
        for subset, rows in (("all", np.ones(len(table), bool)), ("human", human)):
            part = table[rows]
            of_fold = pd.Series(fold[rows], part.index).astype(str)
            together = codes(part["segment"] + "|" + of_fold)
            names = part.index.to_numpy().astype(str).astype(object)
            design = Design(
                names, codes(part["group"]), codes(part["segment"]),
                codes(of_fold), same_group_pairs(together, names), codes(part["player"]),
            )  # fmt: skip
            yield Problem(scheme, subset, design, y[rows], {k: p[rows] for k, p in found.items()})


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def scipys(design: Design, y: Array, p: Array) -> None:
    """Two-way BCa interval of the pooled R² of one dimension and model."""

    def r2(groups: np.ndarray, players: np.ndarray) -> float:
        weight = np.bincount(groups, minlength=design.n_clusters)[design.cluster]
        weight = weight * np.bincount(players, minlength=design.n_players)[design.player]
        mean = (weight * y).sum() / weight.sum()
        return float(1 - (weight * (y - p) ** 2).sum() / (weight * (y - mean) ** 2).sum())

    stats.bootstrap(
        (np.arange(design.n_clusters), np.arange(design.n_players)), r2, method="BCa",
        n_resamples=SCIPY_DRAWS, vectorized=False, random_state=0,
    )  # fmt: skip


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    params = EvaluateParams(n_bootstrap=options.draws)
    todo = list(problems(options.models))
    scale = Scale(params, "regression", todo[0].y, np.ones(DIMENSIONS, bool))
    wall, cpu = timed(lambda: solve(todo, scale, options.workers))
    statistics = len(todo) * options.models * (len(scale.metrics("models")) + 2) * (DIMENSIONS + 1)
    first = todo[0]
    p = next(iter(first.predictions.values()))
    theirs = timed(lambda: scipys(first.design, first.y[:, 0], p[:, 0]))
    # The jackknife and the bookkeeping are few calls beside the draws, so time scales with them.
    of_scipy = [seconds * options.draws / SCIPY_DRAWS for seconds in theirs]
    found = {
        "models x schemes x subsets": f"{options.models} x {len(todo) // 2} x 2",
        "clips, content groups, players": f"{len(first.y)}, {first.design.n_clusters}, "
        f"{first.design.n_players}",
        "all, wall [s]": f"{wall:.1f}",
        "all, CPU [s]": f"{cpu:.1f}",
        "statistics with intervals": f"{statistics}",
        "one statistic, CPU [ms]": f"{1e3 * cpu / statistics:.3f}",
        "scipy, one statistic, CPU [ms]": f"{1e3 * of_scipy[1]:.0f}",
        "ratio of CPU": f"{of_scipy[1] * statistics / cpu:.0f}",
        "ratio of wall": f"{of_scipy[0] * statistics / wall:.0f}",
    }
    print(pd.Series(found).to_string())


if __name__ == "__main__":
    sys.exit(main())
