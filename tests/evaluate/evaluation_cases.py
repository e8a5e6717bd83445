"""Small corpora and parameters for the tests of `pianoeval.evaluate`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.evaluate.results import evaluate_state
from pianoeval.evaluate.summary import summarise
from pianoeval.evaluate.tables import results_table
from pianoeval.params import Params
from pianoeval.params_file import parse_params

ROW = {
    "corpus": "toy", "corpus_version": "1", "licence": "CC0-1.0", "redistributable": True,
    "audio_path": None, "midi_path": "source/midi/x.mid", "score_path": None, "start_s": 0.0,
    "end_s": 8.0, "source": "disklavier", "composer": None, "instrument": None, "parent": None,
    "tier": 0,
}  # fmt: skip


def params(**changes: Any) -> Params:
    """A complete configuration; ``changes`` replace whole blocks."""
    blocks: dict[str, Any] = {
        "axes": {"corpus": ["toy"], "instrument": [], "encoder": [], "features": ["symbolic"]},
        "run": {},
        "midi": {},
        "corpora": {"toy": {"loader": "studio"}},
        "render": {},
        "instruments": {"piano": {"font": "x"}},
        "contours": {"instrument": "piano"},
        "encoders": {"mel": {"kind": "mel"}},
        "pool": {"stats": ["mean"]},
        "folds": {"schemes": ["segment", "content", "player", "movement", "movement_player"]},
        "views": {"symbolic": {"symbolic": {"models": ["ridge"]}}},
        "probe": {
            "ridge": {"lambdas": [1.0]}, "mlp": {}, "extra_trees": {}, "boosting": {},
            "ensemble": ["ridge"],
        },
        "evaluate": {"n_bootstrap": 500},
        "report": {"instrument": "piano"},
    }  # fmt: skip
    blocks["axes"]["instrument"] = ["piano"]
    blocks["axes"]["encoder"] = ["mel"]
    return parse_params(blocks | changes)


def manifest(
    n_movements: int = 3, n_segments: int = 4, n_players: int = 4, takes: int = 1
) -> pd.DataFrame:
    """Every player plays every segment; two neighbouring segments share their notes."""
    rows = []
    for movement in range(n_movements):
        for segment in range(n_segments):
            for player in range(n_players):
                for take in range(takes):
                    clip = f"m{movement}_s{segment}_p{player}_t{take}"
                    rows.append(
                        {
                            **ROW,
                            "clip": clip,
                            "sha256": f"digest-{clip}",
                            "composition": f"c{movement // 2}",
                            "movement": f"m{movement}",
                            "segment": f"m{movement}_s{segment}",
                            "content_group": f"m{movement}_g{segment // 2}",
                            "player": "score" if player == 0 else f"p{player}",
                            "is_score_render": player == 0,
                            "take": str(take),
                        }
                    )
    return pd.DataFrame(rows)


def labels(
    table: pd.DataFrame, dimensions: tuple[str, ...] = ("timing", "pedal"), seed: int = 0
) -> pd.DataFrame:
    """Labels with a movement, a player and a private part."""
    random = np.random.default_rng(seed)
    rows = []
    for dimension in dimensions:
        movement = {m: random.normal() for m in sorted(set(table["movement"]))}
        player = {p: random.normal() for p in sorted(set(table["player"]))}
        for clip, m, p in table[["clip", "movement", "player"]].itertuples(index=False):
            value = 0.5 + 0.05 * (movement[m] + player[p] + random.normal())
            rows.append((clip, "rating", dimension, value, 5, 0.1, "low", "high", None))
    columns = [
        "clip", "task", "dimension", "value", "n_raters", "sd", "low_pole", "high_pole",
        "higher_is_better",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def ratings(label_table: pd.DataFrame, n_raters: int = 6, noise: float = 0.05) -> pd.DataFrame:
    """Raw ratings: the label plus each rater's deviation."""
    random = np.random.default_rng(1)
    part = label_table[["clip", "dimension", "value"]]
    parts = [
        part.assign(rater=f"r{rater}", value=part["value"] + random.normal(0, noise, len(part)))
        for rater in range(n_raters)
    ]
    return pd.concat(parts, ignore_index=True)


def predictions(
    label_table: pd.DataFrame, folds: pd.DataFrame, noise: float = 0.03, seed: int = 0
) -> pd.DataFrame:
    """A model that knows the label up to noise, in the form probes write."""
    random = np.random.default_rng(seed)
    table = folds[["scheme", "fold", "clip"]].merge(label_table, on="clip")
    return pd.DataFrame(
        {
            "clip": table["clip"],
            "scheme": table["scheme"],
            "fold": table["fold"],
            "model": "ridge",
            "seed": 0,
            "task": table["task"],
            "dimension": table["dimension"],
            "prediction": (table["value"] + random.normal(0, noise, len(table))).astype("float32"),
        }
    )


def evaluation_inputs(n_segments: int, **changes: Any) -> dict[str, Any]:
    """What ``evaluate_state`` takes: a small corpus, its folds, and one model of it."""
    table = manifest(n_segments=n_segments)
    rated, settings = labels(table), params(**changes)
    folds = make_folds(table, settings.folds)
    return {
        "manifest": table,
        "labels": rated,
        "folds": folds,
        "predictions": {"symbolic": predictions(rated, folds)},
        "ratings": ratings(rated),
        "params": settings,
        "commit": "abc123",
    }


def evaluate_corpus(*given: Any, **named: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Results and summary, as the stage writes them."""
    state = evaluate_state(*given, **named)
    return results_table(state.rows), summarise(state)
