"""Tables of ranked pairs and codes, as the stage that trains rankers writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from evaluation_cases import params as base_params

from pianoeval.corpora.manifest import label_matrix
from pianoeval.evaluate.statistics.pairs import make_design
from pianoeval.params import Params

SCHEMES = ("player", "movement")


def params(**changes: Any) -> Params:
    """Two rankers, of which one has a sweep."""
    rank = {
        "schemes": list(SCHEMES), "permutations": 19,
        "rankers": {
            "sure": {"views": ["symbolic"], "approach": "difference"},
            "swept": {"views": ["symbolic"], "sweep": {"temperature": [0.05, 0.1]}, "n_seeds": 3},
        },
    }  # fmt: skip
    return base_params(**{"rank": rank, "evaluate": {"n_bootstrap": 200}, **changes})


def ranked_pairs(
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    rankers: dict[str, float],
    *,
    schemes: tuple[str, ...] = SCHEMES,
    scale: float = 30.0,
    seed: int = 0,
    human: bool = True,
) -> pd.DataFrame:
    """Margins are ``scale`` times the labels' difference, plus noise of each pair.

    ``rankers`` names them and gives the noise in units of labels. Half of the pairs, chosen at
    random, stand the other way round, and rows are shuffled.
    """
    random = np.random.default_rng(seed)
    rows = manifest.sort_values("clip", ignore_index=True)
    if human:
        rows = rows[~rows["is_score_render"].astype(bool)]
    values, dimensions = label_matrix(labels, "rating", rows["clip"].tolist())
    parts = []
    for scheme in schemes:
        fold_of = folds[folds["scheme"] == scheme].set_index("clip")["fold"]
        design = make_design(rows, fold_of.loc[rows["clip"]])
        first, second = design.pairs.T
        turned = random.random(len(first)) < 0.5
        first, second = np.where(turned, second, first), np.where(turned, first, second)
        difference = values[first] - values[second]
        for name, noise in rankers.items():
            margins = scale * (difference + noise * random.normal(size=difference.shape))
            part = pd.DataFrame(
                {"ranker": name, "scheme": scheme, "fold": fold_of[design.clips[first]].to_numpy(),
                 "first": design.clips[first], "second": design.clips[second]}
            )  # fmt: skip
            told = pd.DataFrame(
                margins.astype(np.float32), columns=[f"margin/{d}" for d in dimensions]
            )
            parts.append(pd.concat([part, told], axis=1))
    table = pd.concat(parts, ignore_index=True)
    table = table.iloc[random.permutation(len(table))].reset_index(drop=True)
    table.attrs = {"dimensions": dimensions, "selection": selection(table)}
    return table


def selection(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each ranker with points, the first one is taken in every fold but the first."""
    points: dict[str, list[str]] = {}
    for name in sorted(set(table["ranker"])):
        base, _, point = name.partition(":")
        points.setdefault(base, []).extend([point] if point else [])
    cells = table[["scheme", "fold"]].drop_duplicates().sort_values(["scheme", "fold"])
    return [
        {"ranker": base, "scheme": str(scheme), "fold": int(fold), "validation": 0.6,
         "point": (found[-1] if fold == cells["fold"].min() else found[0]) if found else ""}
        for base, found in points.items()
        for scheme, fold in cells.itertuples(index=False)
    ]  # fmt: skip


def ranked_codes(
    manifest: pd.DataFrame, folds: pd.DataFrame, ranker: str = "sure", seed: int = 0
) -> pd.DataFrame:
    """Codes ``shared`` of three values without meaning."""
    random = np.random.default_rng(seed)
    human = manifest.loc[~manifest["is_score_render"].astype(bool), "clip"]
    rows = folds[folds["scheme"].isin(SCHEMES) & folds["clip"].isin(human)]
    table = rows[["scheme", "fold", "clip"]].assign(ranker=ranker, branch="shared")
    for number in range(3):
        table[f"v{number:03d}"] = random.normal(size=len(table)).astype(np.float32)
    columns = ["ranker", "scheme", "fold", "branch", "clip", "v000", "v001", "v002"]
    return table[columns].reset_index(drop=True)
