"""Tables of predictions and codes, as the stage that trains heads on frames writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from evaluation_cases import params as base_params

from pianoeval.corpora.manifest import label_matrix
from pianoeval.params import Params

HEADS: dict[str, Any] = {
    "pcconv": {"approach": "pcconv"},
    "joint": {"approach": "joint", "sweep": {"margin": [1, 2], "bins": [3, 5]}},
    "plain": {"approach": "statistics"},
}
# Standard deviation of what each says beside the label, in units of the labels' own.
NOISE = {
    "pcconv": 0.8, "joint": 0.5, "plain": 0.9, "joint:margin=1,bins=3": 0.7,
    "joint:margin=1,bins=5": 0.6, "joint:margin=2,bins=3": 0.5, "joint:margin=2,bins=5": 0.5,
}  # fmt: skip
WITHOUT_CODES = ("plain",)


def params(**changes: Any) -> Params:
    """Three heads, of which one has a sweep of margins and bins."""
    contrast = {
        "schemes": ["player", "movement"], "seeds": [0, 1, 2], "heads": HEADS, "bins": 3,
        "perplexities": [5, 10],
    }  # fmt: skip
    return base_params(
        **{"contrast": contrast, "evaluate": {"n_bootstrap": 200},
           "folds": {"schemes": ["player", "movement"]}, **changes}
    )  # fmt: skip


def head_tables(
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    heads: Mapping[str, float] = NOISE,
    *,
    schemes: Sequence[str] = ("player", "movement"),
    seeds: Sequence[int] = (0, 1, 2),
    n_folds: int = 0,
    width: int = 4,
    task: str = "rating",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions are half the label and noise; codes lie along a line that noise thickens."""
    random = np.random.default_rng(7)
    values, dimensions = label_matrix(labels, task, manifest["clip"].tolist())
    row = {clip: number for number, clip in enumerate(manifest["clip"])}
    centre, scale = values.mean(axis=0), values.std(axis=0)
    predicted: list[pd.DataFrame] = []
    codes: list[pd.DataFrame] = []
    for name, noise in heads.items():
        for scheme in schemes:
            rows = folds[folds["scheme"] == scheme].sort_values(["fold", "clip"])
            chosen = sorted(set(rows["fold"]))[: n_folds or None]
            for fold, part in rows[rows["fold"].isin(chosen)].groupby("fold"):
                clips = part["clip"].to_numpy(dtype=object)
                y = (values[[row[clip] for clip in clips]] - centre) / scale
                for seed in seeds:
                    for d, dimension in enumerate(dimensions):
                        own = y[:, d] + noise * random.normal(size=len(y))
                        head = pd.DataFrame({
                            "head": name, "scheme": scheme, "fold": fold, "seed": seed,
                            "dimension": dimension, "clip": clips,
                        })  # fmt: skip
                        told = centre[d] + 0.5 * scale[d] * own
                        predicted.append(head.assign(predicted=told))
                        if name not in WITHOUT_CODES:
                            away = 0.3 * noise * random.normal(size=(len(y), width))
                            away[:, 0] += own
                            table = pd.DataFrame(
                                away.astype(np.float32), columns=[f"v{v:03d}" for v in range(width)]
                            )
                            codes.append(pd.concat([head, table], axis=1))
    table = pd.concat(predicted, ignore_index=True)
    table.attrs = {"dimensions": dimensions, "selection": selection(table)}
    return table, pd.concat(codes, ignore_index=True)


def selection(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Of a head with points the last one is taken, but the first with the first seed."""
    points: dict[str, list[str]] = {}
    for name in table["head"].unique():
        base, _, point = str(name).partition(":")
        points.setdefault(base, []).extend([point] if point else [])
    keys = table[["scheme", "fold", "seed", "dimension"]].drop_duplicates()
    first = keys["seed"].min()
    return [
        {"head": head, "scheme": scheme, "fold": int(fold), "seed": int(seed),
         "dimension": dimension, "validation": 0.01,
         "point": (found[0] if seed == first else found[-1]) if found else ""}
        for head, found in points.items()
        for scheme, fold, seed, dimension in keys.itertuples(index=False)
    ]  # fmt: skip
