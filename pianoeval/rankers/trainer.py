"""Training of rankers: folds, points of a sweep and seeds of one shape as one batched problem.

A network (:class:`~pianoeval.rankers.networks.Network`) says what its parameters are, what a
batch costs each replica, shape (B,), and what it makes of takes: margins of pairs and codes. It
keeps no parameters itself: they come as a dict of tensors (B, …), as many replicas as are at work.
:func:`train` does the rest: batches by segment (``sampling``), Adam, early stopping on validation
pairs, seeds averaged (``outcome``), and as many replicas at a time as the memory allows.

    def predict_mine(folds, points, run):
        return train(MyNetwork, folds, points)

Everything is chosen on the validation pairs of the training side: the epoch, of best accuracy; and
one slope that turns margins into log-odds, which changes no order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from pianoeval.params_rank import RankerParams
from pianoeval.rankers.base import RankFold, RankPrediction
from pianoeval.rankers.features import MOST_FRAMES
from pianoeval.rankers.networks import KNOBS, Network
from pianoeval.rankers.outcome import Outcome, combined
from pianoeval.rankers.replicas import Job, Replicas, shape_of
from pianoeval.rankers.sampling import Material
from pianoeval.threads import one_thread

MEMORY = 2**30  # bytes that features, parameters and a step's values may take
_COPIES = 6  # weights, gradient, two moments, best weights, and what Adam changes
_BYTES = 4

Make = Callable[[RankerParams], Network]


@contextmanager
def _one_thread() -> Iterator[None]:
    """As ``threads.one_thread``, and torch, whose own linear algebra that does not reach."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with one_thread():
            yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def train(
    make: Make, folds: Sequence[RankFold], points: Sequence[RankerParams], memory: int = MEMORY
) -> list[list[RankPrediction]]:
    """Train every point in every fold with every seed.

    Parameters
    ----------
    make : callable
        The network of a point; of points that differ in ``KNOBS`` alone, one serves all.
    memory : int
        Bytes; what does not fit at once is trained in turns, one replica at least.

    Raises
    ------
    ConfigError
        A fold without pairs to learn from or to stop on, or what the network cannot do.
    PianoevalError
        The loss diverged.
    """
    found: dict[Job, Outcome] = {}
    for alike in _of_one_shape(points):
        params = points[alike[0]]
        network = make(params)
        for numbers in _parts_of_folds(folds, network, memory):
            material = Material([folds[number] for number in numbers], params, network.reads_frames)
            jobs = [
                Job(point, fold, params.seed + seed)
                for fold in range(len(numbers)) for point in alike for seed in range(params.n_seeds)
            ]  # fmt: skip
            at_once = _at_once(network, material, memory)
            for start in range(0, len(jobs), at_once):
                done = Replicas(network, material, points, jobs[start : start + at_once]).run()
                found |= {Job(j.point, numbers[j.fold], j.seed): one for j, one in done.items()}
    return [
        [
            combined(fold, [found[Job(p, f, params.seed + s)] for s in range(params.n_seeds)])
            for f, fold in enumerate(folds)
        ]
        for p, params in enumerate(points)
    ]


def _of_one_shape(points: Sequence[RankerParams]) -> list[list[int]]:
    """Numbers of points that differ in nothing but ``KNOBS``."""
    groups: dict[str, list[int]] = {}
    for number, point in enumerate(points):
        rest = point.model_dump(mode="json", exclude=set(KNOBS))
        groups.setdefault(json.dumps(rest, sort_keys=True), []).append(number)
    return list(groups.values())


def _parts_of_folds(
    folds: Sequence[RankFold], network: Network, memory: int
) -> Iterator[list[int]]:
    """Folds whose features fit half of the memory together."""
    if not folds:
        return
    one = folds[0]
    values = one.x.shape[1] + one.n_dimensions
    if network.reads_frames and one.sequences is not None:
        values += MOST_FRAMES * one.sequences.dim
    room = max(1, memory // 2 // (_BYTES * values * len(one.x)))
    for start in range(0, len(folds), room):
        yield list(range(start, min(start + room, len(folds))))


def _at_once(network: Network, material: Material, memory: int) -> int:
    """Replicas whose parameters and steps fit half of the memory together."""
    shape = shape_of(material)
    weights = network.initial(shape, material.params.seed, material.fit_labels[0])
    size = sum(value.numel() for value in weights.values())
    n_lists, n = material.params.batch_segments, material.n_takes
    step = network.values(shape, n_lists * n, n_lists * n * (n - 1) // 2)
    held = max(network.values(shape, len(rows), len(pairs))
               for rows, pairs in zip(material.held, material.held_pairs, strict=True))  # fmt: skip
    return max(1, memory // 2 // (_BYTES * (_COPIES * size + max(step, held))))
