"""Time of the cluster bootstrap, ours against ``scipy.stats.bootstrap``, and of a whole evaluation.

    python benchmarks/bootstrap.py            # about a minute

The corpus is made up with the size of PercePiano: 1,202 clips, 45 content groups, 19 dimensions.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd
from scipy import stats

from pianoeval.evaluate.bootstrap import draw_counts, resample
from pianoeval.evaluate.metrics import sum_metrics
from pianoeval.evaluate.pairs import Design, cluster_sums, same_group_pairs

CLIPS, CLUSTERS, SEGMENTS, DIMENSIONS, FOLDS, DRAWS = 1202, 45, 99, 19, 4, 10_000
MARGINS = (0.0, 0.05, 0.10)


def made_up() -> tuple[Design, np.ndarray, np.ndarray]:
    """A design of PercePiano's size, ratings and predictions."""
    random = np.random.default_rng(0)
    segment = np.sort(np.arange(CLIPS) % SEGMENTS)
    cluster = segment * CLUSTERS // SEGMENTS
    fold = cluster % FOLDS
    clips = np.array([f"clip{i:04d}" for i in range(CLIPS)], dtype=object)
    design = Design(clips, cluster, segment, fold, same_group_pairs(segment, clips))
    y = np.round(random.normal(0.5, 0.12, (CLIPS, DIMENSIONS)), 2)
    return design, y, 0.5 * y + random.normal(0.25, 0.06, y.shape)


def ours(design: Design, y: np.ndarray, p: np.ndarray) -> float:
    """Seconds for every metric of one model: all dimensions, BCa intervals."""
    start = time.perf_counter()
    metrics = sum_metrics(MARGINS)
    averaged = {name: np.ones(DIMENSIONS, bool) for name in metrics}
    counts = draw_counts(CLUSTERS, DRAWS, 0)
    drawn = resample(cluster_sums(design, y, p, MARGINS), metrics, counts, averaged)
    for found in drawn.values():
        found.interval(0.95)
    return time.perf_counter() - start


def scipys(design: Design, y: np.ndarray, p: np.ndarray, draws: int) -> float:
    """Seconds for R² of one dimension over resampled clusters, scaled to all draws."""
    members = [np.flatnonzero(design.cluster == c) for c in range(CLUSTERS)]

    def r2(clusters: np.ndarray) -> float:
        rows = np.concatenate([members[c] for c in clusters])
        a, b = y[rows, 0], p[rows, 0]
        return float(1 - ((a - b) ** 2).sum() / ((a - a.mean()) ** 2).sum())

    start = time.perf_counter()
    stats.bootstrap(
        (np.arange(CLUSTERS),), r2, n_resamples=draws, method="BCa", vectorized=False,
        random_state=0,
    )  # fmt: skip
    return (time.perf_counter() - start) * DRAWS / draws


def main() -> None:
    """Print a table."""
    design, y, p = made_up()
    ours(design, y, p)
    one = min(ours(design, y, p) for _ in range(3))
    n_metrics = len(sum_metrics(MARGINS))
    per_statistic = one / (n_metrics * (DIMENSIONS + 1))
    theirs = scipys(design, y, p, 2000)
    print(pd.Series({
        "one model, all metrics and dimensions [s]": one,
        "one statistic [s]": per_statistic,
        "scipy, one statistic [s]": theirs,
        "ratio": theirs / per_statistic,
        "20 models x 5 schemes x 2 subsets [s]": one * 200,
    }).to_string(float_format=lambda v: f"{v:.4g}"))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
