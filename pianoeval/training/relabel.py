"""Label controls: ridge on labels of other clips, at little more than the price of ridge.

The decompositions of ridge know no labels. So the true labels and every control share them, fold
by fold, and each chooses its own λ on the labels that it is trained on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from pianoeval.corpora.manifest import label_matrix
from pianoeval.evaluate.protocol.controls import relabel
from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.models.ridge import predict_ridge_label_sets
from pianoeval.params import ControlParams
from pianoeval.progress import Meter
from pianoeval.training.crossval import Labels, Study, check_complete, make_scheme, prediction_rows

_log = logging.getLogger(__name__)


def exchanged_labels(
    study: Study, labels: pd.DataFrame, controls: ControlParams
) -> dict[str, Labels]:
    """Labels of the view's clips under each control that the corpus allows.

    Labels are exchanged among all labelled clips of the corpus, also those that the view lacks,
    so that every view is given the same.

    Parameters
    ----------
    labels : DataFrame
        The label table.

    Raises
    ------
    BadInputError
        A clip of the corpus is labelled in part: another would be given what it lacks.
    """
    clips = study.manifest["clip"].tolist()
    values, dimensions = label_matrix(labels, study.probe.task, clips)
    if controls.labels:
        check_complete(values, clips, dimensions)
    row = {clip: i for i, clip in enumerate(clips)}
    rows = [row[clip] for clip in study.view.clips]
    found: dict[str, Labels] = {}
    for control in controls.labels:
        try:
            exchanged = relabel(study.manifest, clips, values, control, controls.seed)
        except CannotCutError as reason:
            _log.warning("the control %s is left out: %s", control, reason.what)
        else:
            found[control] = Labels(exchanged[rows], dimensions)
    return found


def predict_label_sets(
    study: Study, folds: pd.DataFrame, label_sets: Sequence[Labels], view_name: str
) -> list[pd.DataFrame]:
    """Out-of-fold predictions of ridge for each labelling of the study's clips.

    Returns
    -------
    list of DataFrame
        Columns ``crossval.PREDICTION_COLUMNS``, in the order of ``label_sets``; each as
        ``nested_cross_validation`` would give it alone, to the bit.
    """
    own = [labels is study.labels for labels in label_sets]
    first = replace(study, labels=label_sets[0])
    parts: list[list[pd.DataFrame]] = [[] for _ in label_sets]
    schemes = list(dict.fromkeys(folds["scheme"]))
    with Meter(f"probe {view_name}", len(schemes) * len(label_sets), unit="models") as meter:
        for scheme in schemes:
            for fold in make_scheme(first, folds, scheme):
                clips = fold.train % len(study.view.clips)  # rows of renders are rows of clips
                training = [labels.values[clips] for labels in label_sets]
                results = predict_ridge_label_sets(fold, training, study.probe.ridge, own)
                for part, result in zip(parts, results, strict=True):
                    part.append(prediction_rows(study, fold, result, ("ridge", 0)))
            meter.advance(len(label_sets))
    return [pd.concat(part, ignore_index=True) for part in parts]
