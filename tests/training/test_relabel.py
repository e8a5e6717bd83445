"""Label controls: as each labelling would give alone, and nothing to be heard in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from study_cases import label_table, make_manifest, make_study, r2_pooled

from pianoeval.errors import BadInputError
from pianoeval.evaluate.protocol.controls import CONTROLS, relabel
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.features.views import View
from pianoeval.params import ControlParams, FoldParams
from pianoeval.training.crossval import Labels, Study, nested_cross_validation
from pianoeval.training.relabel import exchanged_labels, predict_label_sets


@pytest.fixture(scope="module")
def manifest() -> pd.DataFrame:
    return make_manifest()


@pytest.fixture(scope="module")
def folds(manifest: pd.DataFrame) -> pd.DataFrame:
    return make_folds(manifest, FoldParams(schemes=["content", "player", "movement"], n_folds=3))


def heard(manifest: pd.DataFrame, n_features: int = 12) -> Study:
    """Labels that are linear in two of the features, which know nothing of the piece."""
    random = np.random.default_rng(0)
    x = random.normal(size=(len(manifest), n_features))
    return make_study(manifest, x, x[:, :2] + 0.3 * random.normal(size=(len(manifest), 2)))


@pytest.mark.parametrize("n_features", [12, 120])
def test_each_labelling_gets_what_it_would_get_alone(
    manifest: pd.DataFrame, folds: pd.DataFrame, n_features: int
) -> None:
    """To the bit, in the primal and in the dual form: cached items mean the same either way."""
    study = heard(manifest, n_features)
    exchanged = exchanged_labels(study, label_table(study), ControlParams())
    assert list(exchanged) == list(CONTROLS)
    sets = [study.labels, *exchanged.values()]
    together = predict_label_sets(study, folds, sets, "toy")
    for labels, found in zip(sets, together, strict=True):
        alone = nested_cross_validation(replace(study, labels=labels), folds, ["ridge"], "toy")
        pd.testing.assert_frame_equal(found, alone.predictions, check_exact=True)


def test_nothing_is_learned_of_shuffled_labels(manifest: pd.DataFrame, folds: pd.DataFrame) -> None:
    study = heard(manifest)
    table, scores = label_table(study), []
    for seed in range(4):
        params = ControlParams(labels=["shuffled_labels"], seed=seed)
        [labels] = exchanged_labels(study, table, params).values()
        own, shuffled = predict_label_sets(study, folds, [study.labels, labels], "toy")
        assert min(r2_pooled(own, study, study.labels).values()) > 0.8
        scores.append(r2_pooled(shuffled, study, labels))
    found = pd.DataFrame(scores)
    assert (found.mean() < 0).all()
    assert found.max().max() < 0.05


def test_identical_files_on_both_sides_leak_no_shuffled_label() -> None:
    """Every clip twice, wide features: a copy's own label could be read off, another's cannot."""
    once = make_manifest(3, 6, 3)
    copy = once.assign(clip=once["clip"] + "_copy", take="2")
    manifest = pd.concat([once, copy], ignore_index=True)
    folds = make_folds(manifest, FoldParams(schemes=["random"], n_folds=4))
    random = np.random.default_rng(1)
    x = np.tile(random.normal(size=(len(once), 200)), (2, 1))
    study = make_study(manifest, x, np.tile(random.normal(size=(len(once), 2)), (2, 1)))
    labels = exchanged_labels(study, label_table(study), ControlParams(labels=["shuffled_labels"]))
    sets = [study.labels, labels["shuffled_labels"]]
    own, shuffled = predict_label_sets(study, folds, sets, "toy")
    assert r2_pooled(own, study, study.labels)["random"] > 0.3
    assert r2_pooled(shuffled, study, sets[1])["random"] <= 0


def test_swapped_pieces_can_be_recognised_and_players_cannot(manifest: pd.DataFrame) -> None:
    """Features name the segment and the player; labels are of the one, then of the other."""
    folds = make_folds(manifest, FoldParams(schemes=["player"], n_folds=3))
    random = np.random.default_rng(2)
    x = pd.get_dummies(manifest[["segment", "player"]]).to_numpy(np.float64)
    scores = {}
    for column in ("segment", "player"):
        groups = pd.factorize(manifest[column])[0]
        y = random.normal(size=(groups.max() + 1, 2))[groups]
        study = make_study(manifest, x, y + 0.1 * random.normal(size=y.shape))
        labels = exchanged_labels(study, label_table(study), ControlParams())["swapped_pieces"]
        [found] = predict_label_sets(study, folds, [labels], "toy")
        scores[column] = r2_pooled(found, study, labels)["player"]
    assert scores["segment"] > 0.9
    assert scores["player"] <= 0.02


def test_a_view_that_lacks_clips_is_given_the_same_labels(manifest: pd.DataFrame) -> None:
    study = heard(manifest)
    table = label_table(study)
    kept = [i for i in range(len(manifest)) if i % 7]
    view = View(study.view.x[kept], [study.view.clips[i] for i in kept], "toy")
    part = replace(
        study, view=view, labels=Labels(study.labels.values[kept], study.labels.dimensions)
    )
    for control, labels in exchanged_labels(part, table, ControlParams()).items():
        whole = relabel(manifest, study.view.clips, study.labels.values, control, 42)
        np.testing.assert_array_equal(labels.values, whole[kept])


def test_a_partly_labelled_clip_outside_the_view_is_refused(manifest: pd.DataFrame) -> None:
    """Its gap would be handed to another clip."""
    study = heard(manifest)
    table = label_table(study).iloc[1:]
    with pytest.raises(BadInputError, match="m0_s0_p0: 1 clips are labelled in part") as error:
        exchanged_labels(study, table, ControlParams())
    assert "lacks timing" in str(error.value)
    assert exchanged_labels(study, table, ControlParams(labels=[])) == {}
