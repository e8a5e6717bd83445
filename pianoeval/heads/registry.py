"""Heads by approach: networks train as one job, the control is solved in closed form."""

from __future__ import annotations

from collections.abc import Sequence

from pianoeval.heads.base import HeadFold, HeadPrediction
from pianoeval.heads.statistics import fit_statistics
from pianoeval.heads.trainer import train_networks
from pianoeval.params import RunParams
from pianoeval.params_contrast import HeadParams


def train_heads(
    folds: Sequence[HeadFold], heads: Sequence[HeadParams], seeds: Sequence[int], run: RunParams
) -> list[list[HeadPrediction]]:
    """Every head in every fold, one list a head; see :data:`pianoeval.heads.base.Predict`.

    Raises
    ------
    ConfigError
        More components than frames have values.
    """
    found: dict[int, list[HeadPrediction]] = {}
    networks = [number for number, head in enumerate(heads) if head.approach != "statistics"]
    if networks and folds:
        made = train_networks(folds, [heads[number] for number in networks], seeds, run)
        found = dict(zip(networks, made, strict=True))
    for number, head in enumerate(heads):
        if number not in found:
            found[number] = fit_statistics(folds, head, seeds) if folds else []
    return [found[number] for number in range(len(heads))]
