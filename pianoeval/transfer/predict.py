"""Models trained on every rated clip of one corpus, asked about another.

A transfer is one :class:`~pianoeval.models.base.Fold`: its training rows are all labelled clips of
the source, its test rows the clips of the target, whose labels nobody has. What a model selects it
selects on content groups of the source. How good the predictions are, only the source's own
cross-validation tells.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import label_matrix, read_labels, read_manifest
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.features.note_store import NOTES, NoteStore
from pianoeval.features.pooling import PooledStore
from pianoeval.features.reference import OWN
from pianoeval.features.sequences import Sequences
from pianoeval.features.views import SYMBOLIC, View, load_view
from pianoeval.models.base import Float32, Float64, Fold
from pianoeval.models.registry import ENSEMBLE, PROBES
from pianoeval.params import ModelName, Params, ProbeParams
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_bytes
from pianoeval.threads import one_thread
from pianoeval.training.crossval import Labels, Study, usable_rows
from pianoeval.training.fitted import LAYER_WEIGHTS, label_digest, load_fit, model_key, save_fit
from pianoeval.training.inputs import (
    check_encoder,
    describe_inputs,
    describe_table,
    read_inputs,
    symbolic_matrix,
)
from pianoeval.training.predict import with_loss
from pianoeval.transfer.rows import Row

_log = logging.getLogger(__name__)
# What the penalty is chosen on and the perceptron stopped by: the novelty of another piece's notes.
SCHEME = "content"


@dataclass(frozen=True, eq=False)
class Setting:
    """Features of both corpora in the same columns, and the labels of the source.

    Attributes
    ----------
    x : float32, shape (source clips + target clips, features)
        Labelled clips of the source first.
    source_clips, target_clips : list of str
    y : float64, shape (source clips, dimensions)
    dimensions : list of str
    manifest : DataFrame
        Of the source.
    view : View
        Of the source, for its layering.
    probe : ProbeParams
        With the loss that the view names.
    sequences : Sequences, optional
        Of both, in the rows of ``x``.
    """

    x: Float32
    source_clips: list[str]
    target_clips: list[str]
    y: Float64
    dimensions: list[str]
    manifest: pd.DataFrame
    view: View
    probe: ProbeParams
    sequences: Sequences | None = None

    @property
    def n_source(self) -> int:
        """Labelled clips of the source."""
        return len(self.source_clips)


@dataclass(frozen=True, eq=False)
class Transferred:
    """What one row predicts of a target.

    Attributes
    ----------
    row : Row
    setting : Setting
    values : float64, shape (target clips, dimensions)
        Not clipped to the range of the labels.
    """

    row: Row
    setting: Setting
    values: Float64
    selection: dict[str, list[float]] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Columns ``row, clip, dimension, prediction``."""
        s = self.setting
        return pd.DataFrame(
            {
                "row": self.row.name,
                "clip": np.repeat(s.target_clips, len(s.dimensions)),
                "dimension": s.dimensions * len(s.target_clips),
                "prediction": self.values.ravel(),
            }
        )


def load_setting(
    features: str, view: str, params: Params, source: CorpusPaths, target: CorpusPaths
) -> Setting:
    """One view of both corpora.

    Raises
    ------
    BadInputError
        The vectors of the two come from different encoders, or in different columns; no clip of
        the source is labelled.
    ConfigError
        A view that learns from each render, or a symbolic one with the score's blocks.
    """
    block = params.views[features][view]
    if features == SYMBOLIC and block.blocks != OWN:
        raise ConfigError(
            "score-referenced symbolic features are not transferred", allowed="blocks: [own]",
            where=f"views.{features}.{view}", next_step="name another view in transfer.rows",
        )  # fmt: skip
    if block.renders != "average":
        raise ConfigError(
            "a view that learns from every render is not transferred", allowed="renders: average",
            where=f"views.{features}.{view}", next_step="name another view in transfer.rows",
        )  # fmt: skip
    manifest, labels = read_manifest(source.manifest), read_labels(source.labels)
    known = load_view(features, view, params, source, manifest["clip"].tolist())
    values, dimensions = label_matrix(labels, params.probe.task, known.clips)
    study = Study(known, Labels(values, dimensions), manifest, params.probe, params.run)
    rows = usable_rows(known, study.labels)
    asked = read_manifest(target.manifest)["clip"].tolist()
    new = _target_view(features, view, params, source, target, asked)
    if new.x.shape[1] != known.x.shape[1]:
        raise BadInputError(
            f"the target has {new.x.shape[1]} features and the source {known.x.shape[1]}",
            where=f"views.{features}.{view}", next_step="dvc repro",
        )  # fmt: skip
    return Setting(
        np.concatenate([known.x[rows], new.x]), [known.clips[row] for row in rows], new.clips,
        values[rows], dimensions, manifest, known,
        with_loss(params.probe, block.loss), _both(known, rows, new),
    )  # fmt: skip


def _target_view(
    features: str, view: str, params: Params, source: CorpusPaths, target: CorpusPaths,
    clips: list[str],
) -> View:  # fmt: skip
    """The target's clips in the columns of the source, which may lack other values."""
    if features == SYMBOLIC:
        x, found = read_inputs(describe_inputs(features, view, params, source), target)
        row_of = {clip: row for row, clip in enumerate(found)}
        kept = [clip for clip in clips if clip in row_of]
        return View(x[[row_of[clip] for clip in kept]], kept, SYMBOLIC)
    if features == NOTES:
        blocks = params.views[features][view].blocks
        tables = [NoteStore(paths.notes).vectors(blocks) for paths in (source, target)]
        x, found = symbolic_matrix(describe_table(NOTES, tables[0]), tables[1])
        row_of = {clip: row for row, clip in enumerate(found)}
        new = load_view(features, view, params, target, clips)
        return replace(new, x=x[[row_of[clip] for clip in new.clips]])
    described = describe_inputs(features, view, params, source)
    for instrument in params.views[features][view].instruments or params.axes.instrument:
        store = PooledStore(target.pooled(features, instrument))
        stats = params.views[features][view].stats or store.stats
        check_encoder(described, store.attrs, stats, store.path)
    return load_view(features, view, params, target, clips)


def _both(known: View, rows: np.ndarray, new: View) -> Sequences | None:
    """Sequences of the labelled clips, then of the target's."""
    if known.sequences is None or new.sequences is None:
        return None
    one, other = known.sequences.take(rows), new.sequences
    if one.dim != other.dim or one.marks.keys() != other.marks.keys():
        raise BadInputError(
            f"sequences of {other.dim} values a row, and of {one.dim} in the source",
            where="target", next_step="dvc repro",
        )  # fmt: skip
    return Sequences(
        np.concatenate([one.values, other.values]),
        np.concatenate([one.start, other.start + len(one.values)]),
        np.concatenate([one.length, other.length]),
        {name: np.concatenate([mark, other.marks[name]]) for name, mark in one.marks.items()},
    )


def make_fold(setting: Setting) -> Fold:
    """Train on the source, test on the target; divided inside the source.

    Raises
    ------
    BadInputError
        Too few labelled clips to select anything on.
    """
    clips = np.array(setting.source_clips, dtype=object)
    try:
        cut = divide(setting.manifest, SCHEME, clips, setting.y, setting.probe)
    except CannotCutError as reason:
        raise BadInputError(
            f"nothing can be selected on the source: {reason.what}", next_step="label more clips"
        ) from reason
    n = setting.n_source
    return Fold(
        name="transfer/0",
        x=setting.x,
        train=np.arange(n),
        test=np.arange(n, len(setting.x)),
        y=setting.y,
        inner=cut.inner,
        validation=cut.validation,
        layering=setting.view.layering,
        sequences=setting.sequences,
        groups=cut.groups,
    )


@one_thread()
def predict_rows(
    rows: Sequence[Row], params: Params, source: CorpusPaths, target: CorpusPaths, cache: ItemCache
) -> list[Transferred]:
    """Predictions of every row, each model trained once, or taken from the cache."""
    settings: dict[str, Setting] = {}
    single: dict[tuple[str, ModelName], Float64] = {}
    found = []
    for row in rows:
        if row.view not in settings:
            settings[row.view] = load_setting(row.source, row.view, params, source, target)
        setting = settings[row.view]
        models = params.probe.ensemble if row.model == ENSEMBLE else [row.model]
        for model in models:
            if (row.view, model) not in single:
                single[row.view, model] = _fitted(row.view, model, setting, params, cache)
        mean = np.mean([single[row.view, model] for model in models], axis=0)
        found.append(Transferred(row, setting, mean))
    return found


def _fitted(
    view: str, model: ModelName, setting: Setting, params: Params, cache: ItemCache
) -> Float64:
    key = _key(setting, model, params)
    table = load_fit(cache, key)
    if table is None:
        _log.info("transfer: %s/%s learns from %d clips", view, model, setting.n_source)
        fold = make_fold(setting)
        values = PROBES[model].predict([fold], setting.probe, params.run)[0].values
        if not np.isfinite(values).all():
            raise BadInputError(f"{view}/{model} gave no usable prediction", next_step="dvc repro")
        table = pd.DataFrame(values.astype(np.float32), columns=setting.dimensions)
        save_fit(cache, key, table, {"view": view, "model": model, LAYER_WEIGHTS: []})
    return table.to_numpy(np.float64)


def _key(setting: Setting, model: ModelName, params: Params) -> str:
    """Named by all that the fit reads; ``transfer`` tells it from a cross-validation."""
    groups = setting.manifest.set_index("clip").loc[setting.source_clips]
    columns = ["sha256", "segment", "content_group", "movement", "composition", "player", "parent"]
    inputs = {
        "features": sha256_bytes(setting.x.tobytes() + str(setting.x.shape).encode()),
        "labels": label_digest(Labels(setting.y, setting.dimensions)),
        "clips": sha256_bytes("|".join(setting.source_clips).encode()),
        "groups": sha256_bytes(groups[columns].to_csv().encode()),
        "transfer": SCHEME,
    }
    if setting.sequences is not None:
        inputs["sequences"] = setting.sequences.digest()
    labels = Labels(setting.y, setting.dimensions)
    study = Study(setting.view, labels, setting.manifest, setting.probe, params.run)
    return model_key(study, inputs, model)
