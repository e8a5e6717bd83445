"""What an exported model predicts of files, from the features that the pipeline would compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.cache import ItemCache
from pianoeval.errors import BadInputError
from pianoeval.features.framestats import Timing, pool_frames
from pianoeval.features.symbolic import SYMBOLIC_FEATURES, clip_features
from pianoeval.features.views import SYMBOLIC
from pianoeval.judging.context import Notes, notes_of
from pianoeval.judging.embedding import Embedded, embedded
from pianoeval.judging.files import Recording
from pianoeval.midi.features import FEATURES
from pianoeval.models.base import Float32, Float64
from pianoeval.params import Params
from pianoeval.params_file import parse_params
from pianoeval.training.export import ExportedRidge
from pianoeval.training.inputs import check_encoder, symbolic_matrix


@dataclass(frozen=True)
class Judged:
    """One file.

    Attributes
    ----------
    recording : Recording
    values : float64, shape (dimensions,)
        Predictions, in the order of ``ExportedRidge.dimensions``; not clipped.
    notes : Notes
        How far they can be relied on.
    """

    recording: Recording
    values: Float64
    notes: Notes


def judge(
    model: ExportedRidge,
    recordings: Sequence[Recording],
    settings: Params,
    cache: ItemCache,
    score_midi: Path | None = None,
) -> tuple[list[Judged], dict[str, str]]:
    """Predict every dimension for every file.

    Parameters
    ----------
    settings : Params
        How work is done (``run``) and what is refused (``midi``); all that changes a number comes
        from the model.
    score_midi : Path, optional
        The notes that all files play, without expression, for features relative to a score.

    Returns
    -------
    judged : list of Judged
    failed : dict
        Why other files could not be judged.

    Raises
    ------
    BadInputError
        No file can be judged.
    PianoevalError
        What concerns no single file: weights or fonts that are absent, a full disk.
    """
    x, names, failed = features_of(model.config, recordings, settings, cache, score_midi)
    by_name = {one.name: one for one in recordings}
    predicted, apart = model.predict(x), model.distance(x)
    judged = [
        Judged(
            by_name[name], values,
            notes_of(model.config, by_name[name], values, float(d), score_midi is not None),
        )
        for name, values, d in zip(names, predicted, apart, strict=True)
    ]  # fmt: skip
    return judged, failed


def features_of(
    config: Mapping[str, Any], recordings: Sequence[Recording], settings: Params, cache: ItemCache,
    score_midi: Path | None = None,
) -> tuple[Float32, list[str], dict[str, str]]:  # fmt: skip
    """Features of files as a model reads them; parameters and errors as of :func:`judge`.

    Parameters
    ----------
    config : mapping
        ``inputs`` and ``settings``, as in ``config.json``.

    Returns
    -------
    x : float32, shape (files, features)
    names : list of str
        Files that have features, in the order of ``x``.
    failed : dict
        Why others have none.
    """
    read = _symbolic if config["inputs"]["source"] == SYMBOLIC else _embedding
    return read(config, recordings, settings, cache, score_midi)


def _symbolic(
    config: Mapping[str, Any], recordings: Sequence[Recording], settings: Params, cache: ItemCache,
    score_midi: Path | None,
) -> tuple[Float32, list[str], dict[str, str]]:  # fmt: skip
    rows: dict[str, Mapping[str, float]] = {}
    failed: dict[str, str] = {}
    for one in recordings:
        if one.kind != "midi":
            failed[one.name] = "the model reads MIDI, and this is audio"
            continue
        try:
            rows[one.name] = clip_features(one.path, score_midi, settings.midi)
        except BadInputError as error:
            failed[one.name] = str(error)
    if not rows:
        raise _none(failed)
    names = list(FEATURES if score_midi is None else SYMBOLIC_FEATURES)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=names, dtype="float64")
    x, clips = symbolic_matrix(config["inputs"], table)
    return x, clips, failed


def _embedding(
    config: Mapping[str, Any], recordings: Sequence[Recording], settings: Params, cache: ItemCache,
    score_midi: Path | None,
) -> tuple[Float32, list[str], dict[str, str]]:  # fmt: skip
    if score_midi is not None:
        raise BadInputError(
            "the model listens to audio and reads no score", where="--score-midi",
            next_step="leave --score-midi out",
        )  # fmt: skip
    inputs = config["inputs"]
    params = _as_trained(config, settings)
    totals: dict[str, Float64] = {}
    failed: dict[str, str] = {}
    for instrument in inputs["instruments"]:
        left = [one for one in recordings if one.name not in failed]
        if not left:
            break
        with embedded(left, inputs["source"], instrument, params, cache) as found:
            check_encoder(inputs, found.attrs, inputs["stats"], f"{inputs['source']} here")
            failed |= found.failed
            for name, vector in _vectors(found, inputs):
                totals[name] = totals.get(name, np.zeros(())) + vector
    names = [name for name in totals if name not in failed]
    if not names:
        raise _none(failed)
    # As views average over instruments.
    x = np.stack([totals[name] for name in names]) / len(inputs["instruments"])
    return x.astype(np.float32), names, failed


def _vectors(found: Embedded, inputs: Mapping[str, Any]) -> list[tuple[str, Float64]]:
    """Pooled vectors in the columns of training."""
    layers = [found.spec.layer_names.index(name) for name in inputs["layers"]]
    timing, rows = Timing(found.spec.frame_rate_hz, found.spec.frame_group), []
    for name, _, item in found.items():
        pooled = pool_frames(item.arrays["frames"], inputs["stats"], timing)
        parts = [pooled[layer].reshape(-1) for layer in layers]
        if inputs["level"]:
            parts.append(np.asarray(item.arrays["level"], np.float32))
        rows.append((name, np.concatenate(parts).astype(np.float64)))
    return rows


def _as_trained(config: Mapping[str, Any], settings: Params) -> Params:
    """The settings with the model's own encoder, instruments and rules of rendering."""
    own = config["settings"]
    data = settings.model_dump(mode="json")
    source, pianos = config["inputs"]["source"], list(own["instruments"])
    data["encoders"] = {source: own["encoder"]}
    data["instruments"], data["render"] = own["instruments"], own["render"]
    data["axes"] |= {"encoder": [source], "features": [source], "instrument": pianos}
    data["views"], data["fusion"], data["rank"] = {source: {}}, {}, {}
    for block in ("contours", "report"):
        data[block] |= {"instrument": pianos[0]}
    return parse_params(data, Path("config.json"))


def _none(failed: Mapping[str, str]) -> BadInputError:
    told = "\n".join(f"  {name}: {reason}" for name, reason in failed.items())
    return BadInputError(f"no file can be judged\n{told}", next_step="mend these files")
