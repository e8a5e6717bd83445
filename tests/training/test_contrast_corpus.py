"""Heads under every scheme: who learns from whom, what is kept, and what nobody may see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pianoeval.cache import Item, ItemCache
from pianoeval.errors import BadInputError, PianoevalError
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.heads.base import HeadPrediction
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.store import write_store
from pianoeval.training import contrast
from pianoeval.training.contrast import contrast_corpus
from pianoeval.training.headtables import COLUMNS, PREDICTED
from tests.workspaces import small_params

SHORT: dict[str, Any] = {
    "chunk_frames": 40, "hop_frames": 40, "kernel": 5, "stride": 3, "channels": [3, 4],
    "epochs": 4, "contrast_epochs": 2, "batches": 2,
}  # fmt: skip
HEADS: dict[str, Any] = {
    "joint": {"approach": "joint", **SHORT},
    "statistics": {"approach": "statistics"},
}


def make_params(heads: dict[str, Any] | None = None, **block: Any) -> Params:
    data = small_params()
    data["folds"] |= {"schemes": ["player", "movement_player"], "n_folds": 3}
    data["contrast"] |= {"schemes": ["player"], "seeds": [0, 1], "dimensions": [], "folds": 0}
    data["contrast"] |= {"heads": HEADS if heads is None else heads, **block}
    return Params.model_validate(data)


def make_manifest(pieces: int = 4, players: int = 6) -> pd.DataFrame:
    rows = [
        {
            "clip": f"s{s}_p{p}", "parent": None, "sha256": f"{s}{p}", "is_score_render": False,
            "composition": f"s{s}", "movement": f"s{s}", "segment": f"s{s}",
            "content_group": f"s{s}", "player": f"p{p}", "take": "1",
            "midi_path": "source/midi/x.mid", "audio_path": None,
        }
        for s in range(pieces) for p in range(players)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_store(path: Path, manifest: pd.DataFrame, unsteady: np.ndarray) -> None:
    """Contours around one note; how far they stray is what is rated."""
    random = np.random.default_rng(0)
    items = []
    for clip, spread in zip(manifest["clip"], unsteady, strict=True):
        frames = np.zeros((int(random.integers(30, 140)), 1, 3), np.float32)
        frames[:, 0, 0] = 0.5 + 0.1 * spread * random.normal(size=len(frames))
        frames[:, 0, 1:] = 1.0
        arrays = {"frames": frames, "level": np.zeros(3, np.float32)}
        items.append((clip, f"{len(items):064x}", Item(arrays, {}, f"{len(items):064x}")))
    attrs = {"columns": ["pitch", "voiced", "voiced_probability"]}
    write_store(path, items, attrs=attrs, quarantined={})


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, Any]:
    manifest = make_manifest()
    unsteady = np.random.default_rng(1).uniform(size=len(manifest))
    paths = CorpusPaths("toy", tmp_path)
    make_store(paths.contours("grand"), manifest, unsteady)
    labels = pd.DataFrame(
        {"clip": name, "task": "rating", "dimension": dimension, "value": value}
        for dimension, values in (("steady", 1 - unsteady), ("unsteady", unsteady))
        for name, value in zip(manifest["clip"], values, strict=True)
    )
    folds = make_folds(manifest, make_params().folds)
    return {
        "paths": paths, "manifest": manifest, "labels": labels, "folds": folds,
        "cache": ItemCache(tmp_path / "cache"),
    }  # fmt: skip


def test_every_clip_is_predicted_once_a_seed_out_of_fold(corpus: dict[str, Any]) -> None:
    found = contrast_corpus(make_params(), **corpus)
    assert [*found.predictions.columns] == [*COLUMNS, PREDICTED]
    counts = found.predictions.groupby(["head", "scheme", "seed", "dimension"]).size()
    assert len(counts) == 2 * 1 * 2 * 2
    assert set(counts) == {len(corpus["manifest"])}
    tested = corpus["folds"][corpus["folds"]["scheme"] == "player"].set_index("clip")["fold"]
    same = found.predictions["clip"].map(tested) == found.predictions["fold"]
    assert same.all()
    assert set(found.latents["head"]) == {"joint"}  # a closed form learns no code
    assert [*found.latents.columns] == [*COLUMNS, "v000", "v001", "v002", "v003"]
    assert found.predictions.attrs["dimensions"] == ["steady", "unsteady"]
    records = found.predictions.attrs["selection"]
    assert len(records) == 2 * 3 * 2 * 2  # heads, folds, seeds, dimensions
    assert all(np.isfinite(record["validation"]) for record in records)


def test_statistics_of_a_contour_find_how_steady_it_is(corpus: dict[str, Any]) -> None:
    found = contrast_corpus(make_params({"plain": {"approach": "statistics"}}), **corpus)
    rows = found.predictions[found.predictions["dimension"] == "steady"]
    truth = corpus["labels"].query("dimension == 'steady'").set_index("clip")["value"]
    assert np.corrcoef(rows[PREDICTED], rows["clip"].map(truth))[0, 1] > 0.8


def test_labels_of_reported_clips_are_out_of_reach(corpus: dict[str, Any]) -> None:
    params = make_params()
    folds = corpus["folds"]
    held = set(folds[(folds["scheme"] == "player") & (folds["fold"] == 0)]["clip"])
    labels = corpus["labels"].copy()
    of_fold = labels["clip"].isin(held)
    labels.loc[of_fold, "value"] = 1 - labels.loc[of_fold, "value"]
    before = contrast_corpus(params, **corpus)
    after = contrast_corpus(params, **{**corpus, "labels": labels})
    for name in ("predictions", "latents"):
        tables = [getattr(one, name) for one in (before, after)]
        first = [table[table["fold"] == 0].reset_index(drop=True) for table in tables]
        pd.testing.assert_frame_equal(*first, check_exact=True)
    rest = [one.predictions.query("fold == 1")[PREDICTED] for one in (before, after)]
    assert not np.allclose(*rest)


def test_the_scale_of_labels_is_that_of_predictions(corpus: dict[str, Any]) -> None:
    params = make_params({"plain": {"approach": "statistics"}}, dimensions=["steady"])
    labels = corpus["labels"].assign(value=5 + 10 * corpus["labels"]["value"])
    as_is = contrast_corpus(params, **corpus).predictions[PREDICTED]
    wide = contrast_corpus(params, **{**corpus, "labels": labels}).predictions[PREDICTED]
    assert np.corrcoef(as_is, wide)[0, 1] > 0.99
    assert 5 < wide.mean() < 15


def test_what_was_trained_is_not_trained_again(
    corpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    real = contrast.train_heads

    def watched(folds: Any, heads: Any, seeds: Any, run: Any) -> Any:
        trained.append(len(heads))
        return real(folds, heads, seeds, run)

    monkeypatch.setattr(contrast, "train_heads", watched)
    first = contrast_corpus(make_params(), **corpus)
    again = contrast_corpus(make_params(), **corpus)
    assert trained == [2]
    pd.testing.assert_frame_equal(first.predictions, again.predictions, check_exact=True)
    pd.testing.assert_frame_equal(first.latents, again.latents, check_exact=True)
    assert first.predictions.attrs == again.predictions.attrs
    more = HEADS | {"pcconv": {"approach": "pcconv", **SHORT}}
    third = contrast_corpus(make_params(more), **corpus)
    assert trained == [2, 1]
    old = third.predictions[third.predictions["head"] != "pcconv"].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, first.predictions, check_exact=True)
    contrast_corpus(make_params(seeds=[0]), **corpus)
    assert trained == [2, 1, 2]


def test_points_of_a_sweep_stand_beside_what_was_chosen(corpus: dict[str, Any]) -> None:
    heads = {"joint": {"approach": "joint", **SHORT, "sweep": {"margin": [0.5, 4.0]}}}
    found = contrast_corpus(make_params(heads), **corpus)
    rows = found.predictions.set_index([*COLUMNS[1:]])
    assert set(rows["head"]) == {"joint", "joint:margin=0.5", "joint:margin=4.0"}
    points = {name: rows[rows["head"] == name][PREDICTED] for name in set(rows["head"])}
    for record in found.predictions.attrs["selection"]:
        place = tuple(record[name] for name in ("scheme", "fold", "seed", "dimension"))
        chosen = points[f"joint:{record['point']}"].loc[place]
        pd.testing.assert_series_equal(points["joint"].loc[place], chosen, check_names=False)


def test_each_dimension_takes_its_best_point_over_the_seeds() -> None:
    def said(number: float, validation: list[list[float]]) -> HeadPrediction:
        values = np.full((2, 2, 3), number)
        chosen = {"epoch": np.full((2, 2), 10 * number)}
        return HeadPrediction(values, values[..., None], np.array(validation), chosen)

    points = [said(0, [[1, 4], [3, 2]]), said(1, [[1.5, 5], [1.5, 2]])]
    best = contrast._best(points)
    assert best.tolist() == [1, 0]  # means 2 and 1.5, 3 and 3.5
    made = contrast._composed(points, best)
    assert made.predicted[:, :, 0].tolist() == [[1, 0], [1, 0]]
    assert made.latents[:, :, 2, 0].tolist() == [[1, 0], [1, 0]]
    assert made.validation.tolist() == [[1.5, 4], [1.5, 2]]
    assert made.selection["epoch"].tolist() == [[10, 0], [10, 0]]


def test_a_point_that_diverges_is_left_out_and_said(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    rates = [0.005, 1e30]
    swept = {"joint": {"approach": "joint", **SHORT, "sweep": {"learning_rate": rates}}}
    for _ in range(2):  # trained, and from the cache
        caplog.clear()
        found = contrast_corpus(make_params(swept), **corpus)
        assert "learning_rate=1e+30 is left out of scheme player: diverged" in caplog.text
        assert set(found.predictions["head"]) == {"joint", "joint:learning_rate=0.005"}
        assert found.predictions[PREDICTED].notna().all()
        chosen = {record["point"] for record in found.predictions.attrs["selection"]}
        assert chosen == {"learning_rate=0.005"}


def test_a_head_that_diverges_is_named_and_costs_no_other(
    corpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = {"approach": "joint", **SHORT, "learning_rate": 1e30}
    with pytest.raises(PianoevalError) as caught:
        contrast_corpus(make_params(HEADS | {"wild": wild}), **corpus)
    assert "head wild diverged under scheme player" in caught.value.what
    assert "learning_rate" in str(caught.value.next_step)
    monkeypatch.setattr(contrast, "train_heads", None)  # nothing is left to be trained
    assert set(contrast_corpus(make_params(), **corpus).predictions["head"]) == {*HEADS}


def test_heads_that_cannot_be_used_leave_the_others(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    heads = HEADS | {"sky": {"approach": "joint", "store": "skyline", **SHORT}}
    corpus["manifest"]["midi_path"] = None
    found = contrast_corpus(make_params(heads), **corpus)
    assert set(found.predictions["head"]) == {*HEADS}
    assert "head sky is left out: no clip has MIDI that was played" in caplog.text


def test_a_corpus_without_the_wanted_labels_has_no_heads(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    found = contrast_corpus(make_params(dimensions=["overall"]), **corpus)
    assert found.predictions.empty
    assert "head joint is left out: none of contrast.dimensions (overall) is a label" in caplog.text


def test_without_heads_or_schemes_the_tables_are_empty(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    for params, said in ((make_params({}), False), (make_params(schemes=["segment"]), True)):
        found = contrast_corpus(params, **corpus)
        assert found.predictions.empty
        assert [*found.predictions.columns] == [*COLUMNS, PREDICTED]
        assert [*found.latents.columns] == [*COLUMNS]
        assert ("no scheme of contrast.schemes (segment) was cut" in caplog.text) is said


def test_labels_of_none_of_the_clips_are_refused(corpus: dict[str, Any]) -> None:
    corpus["labels"]["clip"] += "_of_another_corpus"
    with pytest.raises(BadInputError, match="no clip with frames has a label"):
        contrast_corpus(make_params(), **corpus)
