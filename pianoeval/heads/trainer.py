"""Training of heads on frames: folds, seeds, heads, points of sweeps and dimensions as one job.

Heads that cut and see frames alike share their chunks and begin with the same weights, so they
differ in what they minimise alone. What trains together is small enough for a core; a thread a core
takes one after the other. Numbers depend neither on that division nor on the number of threads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from pianoeval.builder import n_workers
from pianoeval.heads.base import HeadFold, HeadPrediction
from pianoeval.heads.replicas import Job, Outcome, Replicas
from pianoeval.heads.sampling import Material
from pianoeval.params import RunParams
from pianoeval.params_contrast import HeadParams
from pianoeval.progress import Meter
from pianoeval.threads import one_thread

# Heads that agree in these are trained on the same chunks by networks of one shape.
_SHAPE = (
    "store", "columns", "layers", "instrument", "components", "channels", "kernel", "stride",
    "chunk_frames", "hop_frames", "batches", "pitch_shift_semitones", "momentum",
)  # fmt: skip
_MOST = 16  # replicas that train together
_TURNS = 4  # of each thread at least, so that none waits long for the last one


@dataclass(frozen=True, eq=False)
class _Work:
    """Replicas of one fold and seed: numbers of heads and dimensions, in the order of jobs."""

    fold: int
    seed: int
    members: list[tuple[int, int]]


def train_networks(
    folds: Sequence[HeadFold], heads: Sequence[HeadParams], seeds: Sequence[int], run: RunParams
) -> list[list[HeadPrediction]]:
    """Every head in every fold, trained for each seed and dimension.

    What was never finite is NaN, its validation too: what else trains goes on.
    """
    found: dict[tuple[int, int, int, int], Outcome] = {}
    for alike in _of_one_shape(heads):
        materials = [Material(fold, heads[alike[0]]) for fold in folds]
        for work, outcomes in _trained(materials, heads, alike, seeds, n_workers(run)):
            for (head, dimension), one in zip(work.members, outcomes, strict=True):
                found[head, work.fold, work.seed, dimension] = one
    return [
        [
            _prediction([[found[h, f, s, d] for d in range(fold.n_dimensions)] for s in seeds])
            for f, fold in enumerate(folds)
        ]
        for h in range(len(heads))
    ]


def _trained(
    materials: Sequence[Material], heads: Sequence[HeadParams], alike: Sequence[int],
    seeds: Sequence[int], workers: int,
) -> list[tuple[_Work, list[Outcome]]]:  # fmt: skip
    """All replicas of one shape, in threads."""
    stop = threading.Event()

    def train(work: _Work) -> tuple[_Work, list[Outcome]]:
        torch.set_num_threads(1)  # each thread has a number of its own
        jobs = [Job(heads[head], dimension) for head, dimension in work.members]
        return work, Replicas(materials[work.fold], jobs, work.seed).run(stop.is_set)

    todo = _divided(materials, alike, seeds, workers)
    before = torch.get_num_threads()
    total = sum(len(work.members) for work in todo)
    with (
        one_thread(),
        Meter("contrast", total, unit="networks") as meter,
        ThreadPoolExecutor(max(1, min(workers, len(todo)))) as pool,
    ):
        try:
            found = []
            for work, outcomes in pool.map(train, todo):
                found.append((work, outcomes))
                for _ in work.members:
                    meter.advance()
            return found
        finally:
            stop.set()  # where one failed, or at Ctrl-C, the others end within a step
            torch.set_num_threads(before)


def _divided(
    materials: Sequence[Material], alike: Sequence[int], seeds: Sequence[int], workers: int
) -> list[_Work]:
    """Replicas that train together."""
    sides = [(fold, seed) for fold in range(len(materials)) for seed in seeds]
    todo = []
    for fold, seed in sides:
        members = [(h, d) for h in alike for d in range(materials[fold].y_fit.shape[1])]
        parts = max(
            -(-len(members) // _MOST), min(-(-_TURNS * workers // len(sides)), len(members))
        )
        todo += [
            _Work(fold, seed, [members[place] for place in part.tolist()])
            for part in np.array_split(np.arange(len(members)), parts)
        ]
    return todo


def _of_one_shape(heads: Sequence[HeadParams]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for number, head in enumerate(heads):
        shape = head.model_dump(mode="json", include=set(_SHAPE))
        groups.setdefault(json.dumps(shape, sort_keys=True), []).append(number)
    return list(groups.values())


def _prediction(outcomes: Sequence[Sequence[Outcome]]) -> HeadPrediction:
    """One head in one fold, of outcomes by seed and dimension."""
    names = outcomes[0][0].epochs
    return HeadPrediction(
        predicted=np.array([[one.predicted for one in row] for row in outcomes]),
        latents=np.array([[one.latents for one in row] for row in outcomes]),
        validation=np.array([[one.validation for one in row] for row in outcomes]),
        selection={
            name: np.array([[float(one.epochs[name]) for one in row] for row in outcomes])
            for name in names
        },
    )
