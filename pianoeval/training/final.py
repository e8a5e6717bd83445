"""The final model: ridge regression trained on every labelled clip of a corpus.

Its penalty is chosen on inner folds of content groups, as in the scheme ``content``. There are no
test clips: how good it is, cross-validation says of the same recipe, not of these weights.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from pianoeval import __version__
from pianoeval.corpora.manifest import label_matrix, read_labels, read_manifest
from pianoeval.errors import BadInputError, ConfigError, PianoevalError
from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.evaluate.state import row_hashes
from pianoeval.features.note_store import NOTES
from pianoeval.features.views import SYMBOLIC, load_view
from pianoeval.models.base import Float64, Fold, Standardiser, centre_gram
from pianoeval.models.ridge import predict_ridge_fold
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import git_commit
from pianoeval.threads import one_thread
from pianoeval.training.crossval import Labels, Study, usable_rows
from pianoeval.training.export import FORMAT, FORMAT_VERSION, ExportedRidge
from pianoeval.training.facts import (
    assets_of,
    corpus_of,
    dimensions_of,
    settings_of,
    training_of,
)
from pianoeval.training.inputs import describe_inputs

SCHEME = "content"
# Weights and cross-validation solve one equation in two ways.
_TOLERANCE = 1e-6


@one_thread()
def train_final(paths: CorpusPaths, params: Params, view: str, model: str) -> ExportedRidge:
    """Train ``model`` on all labelled clips of a corpus that have the features of ``view``.

    Raises
    ------
    ConfigError
        A model that cannot be stored, an unknown view, or no labels of ``probe.task``.
    BadInputError
        Clips labelled in part, or too few to choose the penalty on; or symbolic features of a
        corpus without MIDI.
    """
    source = _source(params, view, model)
    manifest, labels = read_manifest(paths.manifest), read_labels(paths.labels)
    task = params.probe.task
    if task not in set(labels["task"]):
        raise ConfigError(
            f"the corpus has no labels of task '{task}'", where=paths.corpus,
            allowed=", ".join(sorted(set(labels["task"]))), next_step="set probe.task",
        )  # fmt: skip
    if source == SYMBOLIC and manifest["midi_path"].isna().all():
        raise BadInputError(
            "no clip has MIDI, so there are no symbolic features", where=paths.corpus,
            next_step="export a view of audio",
        )  # fmt: skip
    loaded = load_view(source, view, params, paths, manifest["clip"].tolist())
    values, dimensions = label_matrix(labels, task, loaded.clips)
    study = Study(loaded, Labels(values, dimensions), manifest, params.probe, params.run)
    rows = usable_rows(loaded, study.labels)
    standardiser, weights, intercept, penalty, column = fit_ridge(study)
    used = manifest.set_index("clip").loc[[loaded.clips[row] for row in rows]]
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": f"{paths.corpus} {view} {model}",
        "view": view,
        "model": model,
        "task": task,
        "dimensions": dimensions_of(labels, task, dimensions, values[rows]),
        "inputs": describe_inputs(source, view, params, paths),
        "settings": settings_of(params, source, view),
        "training": training_of(standardiser, loaded.x[rows], used),
        "ridge": {"lambda": penalty, "chosen_on": column, "grid": params.probe.ridge.lambdas},
        "corpus": corpus_of(used, paths.corpus),
        "assets": assets_of(params, source, view),
        "pianoeval": __version__,
        "commit": git_commit(),
        "config_hash": row_hashes(params, paths.corpus, [view])[view],
    }
    return ExportedRidge(standardiser, weights, intercept, config)


def _source(params: Params, view: str, model: str) -> str:
    """The features that hold the view."""
    found = {name: source for source, views in params.views.items() for name in views}
    if view not in found:
        raise ConfigError(
            f"no view '{view}'", where="views", allowed=", ".join(found),
            next_step="name one of these, as VIEW/ridge",
        )  # fmt: skip
    if model != "ridge":
        raise ConfigError(
            f"'{model}' cannot be exported: only ridge regressions can",
            where=f"{view}/{model}",
            allowed=f"{view}/ridge",
            next_step="export the ridge regression",
        )
    if model not in params.views[found[view]][view].models:
        raise ConfigError(
            f"the view '{view}' has no ridge, so nothing is known about its quality",
            where=f"views.{found[view]}.{view}.models",
            allowed=", ".join(
                n for s in params.views.values() for n in s if "ridge" in s[n].models
            ),
            next_step="add ridge to its models in params.yaml, then: dvc repro",
        )
    check_view(params, found[view], view)
    return found[view]


def check_view(params: Params, source: str, view: str) -> None:
    """Raise ConfigError unless the features of a view can be computed from a file alone."""
    if source == NOTES:
        raise ConfigError(
            "a model of notes cannot be exported", where=f"views.{NOTES}.{view}",
            allowed="views of symbolic features and of encoders", next_step="export another view",
        )  # fmt: skip
    block = params.views[source][view]
    if block.blocks != ["own"] or block.renders != "average":
        raise ConfigError(
            "a model that compares with the score's rendering, or learns from every render, "
            "cannot be exported", where=f"views.{source}.{view}",
            allowed="blocks: [own], renders: average", next_step="export another view",
        )  # fmt: skip


def fit_ridge(study: Study) -> tuple[Standardiser, Float64, Float64, list[float], str]:
    """Weights of the penalty that cross-validation over content groups prefers.

    Returns
    -------
    standardiser : Standardiser
    weights : float64, shape (features, dimensions)
    intercept : float64, shape (dimensions,)
    penalty : list of float
        λ of each dimension.
    column : str
        What stayed together in the inner folds.
    """
    rows = usable_rows(study.view, study.labels)
    y = study.labels.values[rows]
    clips = np.array([study.view.clips[row] for row in rows], dtype=object)
    try:
        cut = divide(study.manifest, SCHEME, clips, y, study.probe)
    except CannotCutError as reason:
        raise BadInputError(
            f"the penalty cannot be chosen: {reason.what}", next_step="label more clips"
        ) from reason
    # A few clips are predicted the way cross-validation does, to compare with the weights.
    some = rows[:: max(1, len(rows) // 16)]
    fold = Fold("all labelled clips", study.view.x, rows, some, y, cut.inner, cut.validation)
    checked = predict_ridge_fold(fold, study.probe.ridge)
    penalty = np.array(checked.selection["lambda"])
    standardiser = Standardiser.fit(study.view.x[rows])
    z = standardiser.transform(study.view.x[rows])
    centre, mean = z.mean(axis=0), y.mean(axis=0)
    weights = _weights(fold, z - centre, y - mean, penalty)
    intercept: Float64 = mean - centre @ weights
    found = standardiser.transform(study.view.x[some]) @ weights + intercept
    if np.abs(found - checked.values).max() > _TOLERANCE * max(1.0, float(np.abs(y).max())):
        raise PianoevalError(
            "the weights do not predict what cross-validation does", where=study.view.description,
            next_step="check the features for columns of very different size",
        )  # fmt: skip
    return standardiser, weights, intercept, penalty.tolist(), cut.column


def _weights(fold: Fold, z: Float64, y: Float64, penalty: Float64) -> Float64:
    """Closed form for each distinct penalty, on the smaller of both matrices."""
    inside = np.arange(len(z))
    matrix = centre_gram(fold.gram, inside, inside) if fold.is_wide else z.T @ z
    weights = np.empty((z.shape[1], y.shape[1]))
    for value in np.unique(penalty):
        chosen = np.flatnonzero(penalty == value)
        regular = matrix + value * np.eye(len(matrix))
        right = y[:, chosen] if fold.is_wide else z.T @ y[:, chosen]
        solved = linalg.solve(regular, right, assume_a="pos")
        weights[:, chosen] = z.T @ solved if fold.is_wide else solved
    return weights
