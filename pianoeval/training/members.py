"""Members of fusions: models of views on the clips that all of them have.

Where all have the same clips, members are the very rows of the report, and come from the cache.
Where one lacks some, the rest are trained again on those that are common.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pianoeval.cache import ItemCache
from pianoeval.errors import BadInputError
from pianoeval.fusions import Member
from pianoeval.models.base import Float64, Fold
from pianoeval.models.registry import ENSEMBLE
from pianoeval.params import ModelName, Params
from pianoeval.paths import CorpusPaths
from pianoeval.training.crossval import Study
from pianoeval.training.fitted import bare, fit_inputs
from pianoeval.training.nested import nested_predictions
from pianoeval.training.predict import predict_view, view_study
from pianoeval.training.renders import over_renders, whole

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Voice:
    """A member with all that its predictions are made from."""

    member: Member
    study: Study
    inputs: Mapping[str, str]
    models: list[ModelName]  # one, or those that the ensemble averages

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def of_clips(self) -> Study:
        """The study without the renders of each clip: its folds are those of all members."""
        return replace(self.study, renders=None)

    def reported(self, folds: pd.DataFrame, cache: ItemCache) -> pd.DataFrame:
        """Its out-of-fold predictions, of all schemes."""
        wanted = [*self.models, ENSEMBLE] if self.member.model == ENSEMBLE else self.models
        view, inputs = self.member.view, dict(self.inputs)
        found = over_renders(bare(predict_view(view, self.study, folds, wanted, inputs, cache)))
        return found[found["model"] == self.member.model]

    def nested(self, outer: Fold, cache: ItemCache) -> Float64:
        """Its nested predictions of the training side of a fold."""
        values = [
            nested_predictions(self.study, outer, model, self.inputs, cache)
            for model in self.models
        ]
        return np.asarray(np.mean(values, axis=0), dtype=np.float64)


def find_voices(
    name: str,
    members: Sequence[Member],
    params: Params,
    paths: CorpusPaths,
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
) -> list[Voice]:
    """Members on the clips that they have in common."""
    studies: dict[str, Study] = {}
    for member in members:
        if member.view in studies:
            continue
        study = view_study(member.features, member.view, params, paths, manifest, labels)
        if params.views[member.features][member.view].renders == "each":
            study = replace(study, renders=whole(tuple(study.view.renders)))
        studies[member.view] = study
    shared = set.intersection(*(set(study.view.clips) for study in studies.values()))
    if not shared:
        raise BadInputError(
            "members have no clip in common", where=f"fusion.views.{name}",
            next_step="name members of other views in params.yaml",
        )  # fmt: skip
    studies = {view: on_clips(study, shared) for view, study in studies.items()}
    inputs = {view: fit_inputs(study, folds) for view, study in studies.items()}
    return [
        Voice(
            member, studies[member.view], inputs[member.view],
            list(params.probe.ensemble) if member.model == ENSEMBLE else [member.model],
        )
        for member in members
    ]  # fmt: skip


def on_clips(study: Study, clips: set[str]) -> Study:
    """The study of these clips alone; itself where it has no others."""
    rows = np.array([i for i, clip in enumerate(study.view.clips) if clip in clips], np.int64)
    if len(rows) == len(study.view.clips):
        return study
    view, labels = study.view, study.labels
    _log.warning("%d of %d clips are not common to all members", len(view.clips) - len(rows),
                 len(view.clips))  # fmt: skip
    fewer = replace(
        view, x=view.x[rows], clips=[view.clips[row] for row in rows],
        sequences=None if view.sequences is None else view.sequences.take(rows),
        renders={name: x[rows] for name, x in view.renders.items()},
    )  # fmt: skip
    return replace(study, view=fewer, labels=replace(labels, values=labels.values[rows]))
