"""Corpora whose pieces and players are known, and codes that tell of them or do not."""

from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd

Codes = np.ndarray


def corpus(n_pieces: int = 8, n_players: int = 6, *, nested: bool = False) -> pd.DataFrame:
    """Every player plays every piece; ``nested``: half of the players half of the pieces."""
    rows = []
    for piece in range(n_pieces):
        for player in range(n_players):
            half = piece * 2 // n_pieces
            if nested and player * 2 // n_players != half:
                continue
            rows.append(
                {
                    **cases.ROW, "clip": f"s{piece:02d}p{player}", "sha256": f"d{piece}.{player}",
                    "composition": f"k{half}", "movement": f"m{half}",
                    "content_group": f"g{piece:02d}", "segment": f"s{piece:02d}",
                    "player": f"p{player}", "is_score_render": False, "take": "1",
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def one_hot(names: pd.Series, scale: float = 1.0) -> Codes:
    """A column a name."""
    return scale * np.eye(names.nunique())[names.astype("category").cat.codes.to_numpy()]


def table(
    manifest: pd.DataFrame, values: Codes, *, ranker: str = "r", branch: str = "style",
    fold: np.ndarray | int = 0, scheme: str = "movement",
) -> pd.DataFrame:  # fmt: skip
    """Codes as the stage writes them."""
    head = pd.DataFrame(
        {"ranker": ranker, "scheme": scheme, "fold": fold, "branch": branch,
         "clip": manifest["clip"].to_numpy()}
    )  # fmt: skip
    columns = [f"v{number:03d}" for number in range(values.shape[1])]
    return pd.concat([head, pd.DataFrame(values.astype(np.float32), columns=columns)], axis=1)


def labels(manifest: pd.DataFrame, values: Codes) -> pd.DataFrame:
    """A label table of dimensions d0 …"""
    wide = pd.DataFrame(values, columns=[f"d{i}" for i in range(values.shape[1])])
    wide["clip"] = manifest["clip"].to_numpy()
    long = wide.melt(id_vars="clip", var_name="dimension", value_name="value")
    return long.assign(task="rating")
