"""What an exported model says about itself: dimensions, settings, training clips, assets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pianoeval.assets import pinned
from pianoeval.encoders.inventory import weights_of
from pianoeval.encoders.registry import needs_checkpoint, required_assets
from pianoeval.features.views import SYMBOLIC
from pianoeval.models.base import Float32, Float64, Standardiser
from pianoeval.params import Params
from pianoeval.training.export import distance


def dimensions_of(
    labels: pd.DataFrame, task: str, names: list[str], values: Float64
) -> list[dict[str, Any]]:
    """Poles and range of each predicted dimension."""
    first = labels[labels["task"] == task].drop_duplicates("dimension").set_index("dimension")
    return [
        {
            "name": name,
            "low_pole": _or_none(first.loc[name, "low_pole"]),
            "high_pole": _or_none(first.loc[name, "high_pole"]),
            "higher_is_better": _or_none(first.loc[name, "higher_is_better"]),
            "label_range": [float(column.min()), float(column.max())],
        }
        for name, column in zip(names, values.T, strict=True)
    ]


def _or_none(value: Any) -> Any:
    if pd.isna(value):
        return None
    return bool(value) if isinstance(value, bool | np.bool_) else str(value)


def settings_of(params: Params, source: str, view: str) -> dict[str, Any]:
    """Parameters that make the inputs from a file, so that a file can be judged anywhere."""
    if source == SYMBOLIC:
        return {}
    instruments = params.views[source][view].instruments or params.axes.instrument
    return {
        "encoder": params.encoders[source].model_dump(mode="json"),
        "instruments": {n: params.instruments[n].model_dump(mode="json") for n in instruments},
        "render": params.render.model_dump(mode="json"),
    }


def training_of(standardiser: Standardiser, x: Float32, used: pd.DataFrame) -> dict[str, Any]:
    """What inputs looked like in training, to tell a clip that is unlike them."""
    lengths = (used["end_s"] - used["start_s"]).to_numpy(dtype=float)
    apart = distance(standardiser, x)
    return {
        "clip_s": {
            "shortest": float(lengths.min()), "median": float(np.median(lengths)),
            "longest": float(lengths.max()),
        },
        "distance": {"median": float(np.median(apart)), "largest": float(apart.max())},
    }  # fmt: skip


def corpus_of(used: pd.DataFrame, name: str) -> dict[str, Any]:
    """The training clips: how many, of how many groups, under which licences."""
    groups = ("segment", "content_group", "movement", "composition", "player")
    licences = used.groupby(["licence", "redistributable"], sort=True).size()
    return {
        "name": name,
        "versions": sorted(set(used["corpus_version"].astype(str))),
        "clips": len(used),
        "recorded": int(used["audio_path"].notna().sum()),
        "groups": {column: int(used[column].nunique()) for column in groups},
        "licences": [
            {"licence": str(row["licence"]), "redistributable": bool(row["redistributable"]),
             "clips": int(row["clips"])}
            for row in licences.reset_index(name="clips").to_dict("records")
        ],
    }  # fmt: skip


def assets_of(params: Params, source: str, view: str) -> list[dict[str, str]]:
    """Weights and sound fonts behind the features, with their licences."""
    if source not in params.encoders:
        return []
    instruments = params.views[source][view].instruments or params.axes.instrument
    encoder = params.encoders[source]
    names = [*required_assets(encoder)]
    pianos = [params.instruments[instrument] for instrument in instruments]
    names += [piano.font for piano in pianos if piano.font]
    found = {name: pinned(name) for name in dict.fromkeys(names)}
    rows = [
        {"name": name, "note": a.note, "licence": a.licence, "sha256": a.sha256}
        for name, a in found.items()
    ]
    if needs_checkpoint(encoder):
        weights, licence, digest = weights_of(source, encoder)
        note = f"weights of the frozen encoder {source}, digest {digest[:12] or 'not pinned'}"
        rows.insert(0, {"name": weights, "note": note, "licence": licence, "sha256": digest})
    return rows
