"""Fitted models' predictions as items of the cache: their keys, and how they are stored."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.cache import Item, ItemCache, item_key
from pianoeval.params import ModelName, ProbeParams
from pianoeval.provenance import sha256_bytes
from pianoeval.training.crossval import Labels, Study

STEP = "probe"
LAYER_WEIGHTS = "layer_weights"
CODE_VERSION = 1
# Columns that decide who trains with whom, inside and outside.
_GROUP_COLUMNS = [
    "clip", "sha256", "composition", "movement", "segment", "content_group", "player", "parent",
]  # fmt: skip


def model_key(study: Study, inputs: Mapping[str, str], model: ModelName) -> str:
    """Key of the predictions of one model, trained on all of the training side or on a part."""
    config: dict[str, object] = {
        "model": model,
        "parameters": _parameters(study.probe, model),
        **_shared(study),
    }
    if study.part is not None:
        config["part"] = {"percent": study.part.percent, "seed": study.part.seed}
    if study.renders is not None:  # by place: the vectors themselves are among the inputs
        renders = study.renders
        config["renders"] = {
            "train": renders.places(renders.train).tolist(),
            "test": renders.places(renders.test).tolist(),
        }
    return item_key(STEP, CODE_VERSION, inputs, config)


def _parameters(probe: ProbeParams, model: ModelName) -> object:
    if model == "layer_mlp":
        return {"mlp": probe.mlp, "layers": probe.layer_mlp}
    if model in ("attention", "lstm"):
        return {"mlp": probe.mlp, "frames": probe.sequence, model: getattr(probe, model)}
    if model == "han" and probe.mlp.seed != probe.han.seed:  # draws the validation group of all
        return {"han": probe.han, "validation_seed": probe.mlp.seed}
    return getattr(probe, model)


def _shared(study: Study) -> dict[str, object]:
    """Parameters that concern every model: the task, and how inner groups are cut."""
    probe = study.probe
    return {
        "task": probe.task,
        "inner_folds": probe.ridge.inner_folds,
        "validation_fraction": probe.mlp.validation_fraction,
    }


def fit_inputs(study: Study, folds: pd.DataFrame) -> dict[str, str]:
    """Digests of all that a fit reads."""

    def digest(table: pd.DataFrame) -> str:
        return sha256_bytes(table.to_csv(index=False).encode())

    view = study.view
    found = {
        "features": sha256_bytes(study.x.tobytes() + str(study.x.shape).encode()),
        "labels": label_digest(study.labels),
        "clips": sha256_bytes("|".join(view.clips).encode()),
        "groups": digest(study.manifest[_GROUP_COLUMNS]),
        "folds": digest(folds),
    }
    if view.sequences is not None:
        found["sequences"] = view.sequences.digest()
    return found


def label_digest(labels: Labels) -> str:
    """SHA-256 of values and names of the dimensions."""
    return sha256_bytes(labels.values.tobytes() + "|".join(labels.dimensions).encode())


def save_fit(cache: ItemCache, key: str, table: pd.DataFrame, meta: dict[str, Any]) -> None:
    """Store predictions; what ``meta`` holds is kept beside them."""
    buffer = io.BytesIO()
    bare(table.copy(deep=False)).to_parquet(buffer, index=False)
    cache.put(STEP, key, {"parquet": np.frombuffer(buffer.getvalue(), np.uint8)}, meta)


def load_fit(cache: ItemCache, key: str) -> pd.DataFrame | None:
    """Predictions from the cache, or None."""
    item = cache.get(STEP, key)
    return None if item is None else unpack_fit(item)


def unpack_fit(item: Item) -> pd.DataFrame:
    """Predictions of an item, with what was learned of layers in ``attrs``."""
    table = pd.read_parquet(io.BytesIO(item.arrays["parquet"].tobytes()))
    table.attrs[LAYER_WEIGHTS] = item.meta.get(LAYER_WEIGHTS, [])
    return table


def bare(table: pd.DataFrame) -> pd.DataFrame:
    """Without attrs, which pandas would compare when it joins tables."""
    table.attrs = {}
    return table
