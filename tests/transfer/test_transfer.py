"""A corpus learned from, another predicted: what is learned, what is refused, what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from asap_cases import make_asap
from sklearn.linear_model import Ridge
from workspaces import make_cache, make_workspace, small_params

from pianoeval.cache import Item, ItemCache
from pianoeval.corpora.fetch import get_corpus
from pianoeval.corpora.manifest import read_labels, read_manifest, write_labels, write_manifest
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.protocol.groups import UNKNOWN_PLAYER
from pianoeval.features.note_store import write_notes
from pianoeval.features.pooling import pool_store
from pianoeval.features.views import load_view
from pianoeval.models.base import Standardiser
from pianoeval.models.ridge import predict_ridge_fold
from pianoeval.params import CorpusParams, Params
from pianoeval.params_file import load_params, parse_params
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore, write_store
from pianoeval.tablefile import read_table
from pianoeval.transfer import predict
from pianoeval.transfer.difficulty import difficulty_table
from pianoeval.transfer.performers import performer_table, rated_spread
from pianoeval.transfer.predict import load_setting, make_fold, predict_rows
from pianoeval.transfer.published import MEAN_OF_DIMENSIONS, PERFORMER_SD
from pianoeval.transfer.reports import transfer_corpus
from pianoeval.transfer.rows import find_rows
from pianoeval.transfer.shift import refusals
from pianoeval.transfer.target import known_segments, read_target, with_mean
from stages import degrade, fetch, ingest, symbolic

PIECES = {
    f"{composer}/Piece_{i}": ["Ada01", "Bo02M", "Cy03"][: 1 + i % 3]
    for i, composer in enumerate(["Bach", "Bach", "Liszt", "Liszt", "Ravel", "Ravel", "Bach"])
}
LEVELS = {piece: float(1 + i) for i, piece in enumerate(PIECES)}
ROWS = ["symbolic/ridge", "symbolic/extra_trees", "symbolic/ensemble"]
TABLES = ("difficulty.csv", "performers.csv", "shift.csv", "transfer.json")


def settings() -> dict[str, Any]:
    data = small_params()
    data["axes"] |= {"features": ["symbolic"], "target": ["asap"]}
    data["corpora"]["studio"] |= {"n_segments": 3, "n_players": 3, "tiers": [2, 4]}
    models = ["ridge", "extra_trees", "ensemble"]
    data["views"] = {"symbolic": {"symbolic": {"models": models}}}
    data["rank"]["rankers"] = {}  # of views that are not here
    data["probe"]["ensemble"] = ["ridge", "extra_trees"]
    data["probe"]["extra_trees"]["n_estimators"] = 10
    data["transfer"] |= {"source": "studio", "rows": ROWS, "n_bootstrap": 100, "leave_out": []}
    return data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with the features of both corpora."""
    root = tmp_path_factory.mktemp("transfer")
    workspace = make_workspace(root / "workspace", settings())
    cache = make_cache(root / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        patch.setenv("PIANOEVAL_CACHE", str(cache))
        source = make_asap(root / "asap", PIECES, LEVELS)
        get_corpus("asap", CorpusParams(loader="asap"), source)
        for corpus in ("studio", "asap"):
            for stage in (fetch, ingest, degrade, symbolic):
                stage.main(corpus)
        yield workspace


@pytest.fixture
def workspace(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to change, with an empty cache."""
    shutil.copytree(made, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    monkeypatch.setenv("PIANOEVAL_CACHE", str(make_cache(tmp_path / "cache")))
    return tmp_path / "workspace"


def both(params: Params | None = None) -> tuple[Params, CorpusPaths, CorpusPaths]:
    return params or load_params(), CorpusPaths("studio"), CorpusPaths("asap")


def predicted() -> dict[str, np.ndarray]:
    params, source, target = both()
    found = predict_rows(find_rows(params), params, source, target, ItemCache())
    return {one.row.name: one.values for one in found}


# Learning ------------------------------------------------------------------------------------


def test_ridge_is_sklearns_on_all_labelled_clips_of_the_source(workspace: Path) -> None:
    params, source, target = both()
    setting = load_setting("symbolic", "symbolic", params, source, target)
    n = setting.n_source
    labels = read_labels(source.labels)
    rated = labels.loc[labels["task"] == "rating", "clip"].unique()
    assert set(setting.source_clips) == set(rated)
    assert set(setting.target_clips) == set(read_manifest(target.manifest)["clip"])
    # The columns are the source's: what the target's own view calls absent does not count.
    own = load_view("symbolic", "symbolic", params, source, setting.source_clips)
    np.testing.assert_array_equal(setting.x[:n], own.x)
    fold = make_fold(setting)
    chosen = predict_ridge_fold(fold, params.probe.ridge).selection["lambda"]
    scaler = Standardiser.fit(setting.x[:n])
    twin = Ridge(alpha=chosen[0]).fit(scaler.transform(setting.x[:n]), setting.y)
    wanted = twin.predict(scaler.transform(setting.x[n:]))
    np.testing.assert_allclose(predicted()["symbolic/ridge"], wanted, atol=1e-5)


def test_inside_the_source_content_groups_stay_together(workspace: Path) -> None:
    params, source, target = both()
    setting = load_setting("symbolic", "symbolic", params, source, target)
    fold = make_fold(setting)
    group = setting.manifest.set_index("clip").loc[setting.source_clips, "content_group"].to_numpy()
    divisions = [*fold.inner, *([fold.validation] if fold.validation else [])]
    assert divisions
    for fit, held in divisions:
        assert not set(group[fit]) & set(group[held])
        assert max([*fit, *held]) < setting.n_source


def test_labels_of_the_target_change_nothing(workspace: Path) -> None:
    before = predicted()
    target = CorpusPaths("asap")
    labels = read_labels(target.labels)
    rated = [
        {**labels.iloc[0].to_dict(), "task": "rating", "dimension": d, "clip": clip, "value": 9.0}
        for d in ("timing_jitter", "overall") for clip in read_manifest(target.manifest)["clip"]
    ]  # fmt: skip
    write_labels(pd.concat([labels, pd.DataFrame(rated)], ignore_index=True), target.labels)
    shutil.rmtree(workspace.parent / "cache")
    after = predicted()
    for row, values in before.items():
        np.testing.assert_array_equal(values, after[row])


def test_the_ensemble_is_the_mean_and_the_second_time_nothing_is_trained(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = predicted()
    mean = (first["symbolic/ridge"] + first["symbolic/extra_trees"]) / 2
    np.testing.assert_allclose(first["symbolic/ensemble"], mean, atol=1e-12)
    monkeypatch.setattr(predict, "PROBES", {})
    for row, values in predicted().items():
        np.testing.assert_array_equal(values, first[row])


def write_pooled(paths: CorpusPaths, encoder: str) -> None:
    """Two layers of three random values for every clip."""
    rng = np.random.default_rng(len(encoder))
    items = []
    for clip in read_manifest(paths.manifest)["clip"]:
        frames = rng.normal(size=(4, 2, 3)).astype(np.float16)
        level = np.zeros(3, np.float32)
        items.append((clip, f"key-{clip}", Item({"frames": frames, "level": level}, {}, "")))
    out = paths.root / "embeddings" / "toy.zarr"
    attrs = {"layers": ["1", "2"], "weights": encoder, "dim": 3}
    write_store(out, items, attrs=attrs, quarantined={})
    pool_store(RaggedStore(out), ["mean"], paths.pooled("mel", "grand"))


def test_vectors_of_another_encoder_are_refused(workspace: Path) -> None:
    data = settings()
    data["axes"]["features"] = ["mel"]
    data["views"] = {"mel": {"mel": {"models": ["ridge"]}}}
    data["transfer"]["rows"] = ["mel/ridge"]
    data["pool"] = {"stats": ["mean"]}
    params, source, target = both(parse_params(data))
    write_pooled(source, "one")
    write_pooled(target, "other")
    with pytest.raises(BadInputError, match="another encoder: weights"):
        load_setting("mel", "mel", params, source, target)
    write_pooled(target, "one")
    found = predict_rows(find_rows(params), params, source, target, ItemCache())
    assert found[0].values.shape[0] == len(read_manifest(target.manifest))
    assert np.isfinite(found[0].values).all()


def write_toy_notes(paths: CorpusPaths, lacks: str) -> None:
    """Two notes a clip; of the first clip none has a value of the column ``lacks``."""
    clips = read_manifest(paths.manifest)["clip"].tolist()
    n = 2 * len(clips)
    rng = np.random.default_rng(len(clips))
    notes = pd.DataFrame(rng.normal(size=(n, 2)).astype(np.float32), columns=["pitch", "velocity"])
    notes.loc[:1, lacks] = np.nan
    zero = np.zeros(n, np.int32)
    notes = notes.assign(onset_s=np.tile([0.0, 1.0], len(clips)), beat=zero, measure=zero)
    notes.attrs["blocks"] = {"own": ["pitch", "velocity"]}
    about = pd.DataFrame({"clip": clips, "start": np.arange(0, n, 2), "length": 2, "metre": "none"})
    paths.notes.mkdir(parents=True)
    write_notes((notes, about), paths.notes)


def test_what_notes_lack_is_told_in_the_columns_of_the_source(workspace: Path) -> None:
    """Both corpora have one pattern of absence, but not the same."""
    data = settings()
    data["axes"]["features"] = ["notes"]
    data["views"] = {"notes": {"notes": {"blocks": ["own"], "models": ["ridge"]}}}
    params, source, target = both(parse_params(data))
    write_toy_notes(source, "velocity")
    write_toy_notes(target, "pitch")
    own = load_view("notes", "notes", params, target, read_manifest(target.manifest)["clip"])
    assert own.x[:, -1].tolist() == [1.0] + [0.0] * (len(own.x) - 1)
    setting = load_setting("notes", "notes", params, source, target)
    new = setting.x[setting.n_source :]
    np.testing.assert_array_equal(new[:, :-1], own.x[:, :-1])
    assert not new[:, -1].any(), "the source's column says that there is no velocity"
    assert np.isnan(new[0]).any()


def test_symbolic_features_beside_the_score_are_refused(workspace: Path) -> None:
    data = settings()
    data["views"]["symbolic"]["symbolic"] |= {"blocks": ["difference", "score"]}
    with pytest.raises(ConfigError, match="score-referenced symbolic features"):
        load_setting("symbolic", "symbolic", *both(parse_params(data)))


def test_a_view_of_each_render_is_refused(workspace: Path) -> None:
    data = settings()
    data["axes"]["features"] = ["mel"]
    data["views"] = {"mel": {"mel": {"models": ["ridge"], "renders": "each"}}}
    with pytest.raises(ConfigError, match="every render"):
        load_setting("mel", "mel", *both(parse_params(data)))


# Tables --------------------------------------------------------------------------------------


def test_all_is_written_and_the_same_bytes_whatever_the_workers(workspace: Path) -> None:
    params, _, target = both()
    transfer_corpus("asap", params, ItemCache())
    first = {name: (target.results / name).read_bytes() for name in TABLES}
    shutil.rmtree(workspace.parent / "cache")
    more = params.model_copy(update={"run": params.run.model_copy(update={"workers": 2})})
    transfer_corpus("asap", more, ItemCache())
    assert first == {name: (target.results / name).read_bytes() for name in TABLES}
    told = json.loads(first["transfer.json"])
    assert told["pieces"] == told["pieces_with_level"] == len(PIECES)
    assert told["pieces_of_two_performers"] == sum(len(s) > 1 for s in PIECES.values())
    shift = pd.read_csv(target.results / "shift.csv")
    assert set(shift["row"]) == set(ROWS)
    performers = pd.read_csv(target.results / "performers.csv")
    assert sorted(performers.loc[performers["row"] == ROWS[0], "rank"].dropna()) == list(
        range(1, 1 + len(performers[performers["row"] == ROWS[0]]) - 2)  # of no single dimension
    )
    table = read_table(target.transfer)
    assert len(table) == len(ROWS) * table["clip"].nunique() * table["dimension"].nunique()


def test_performers_are_the_sd_by_hand(workspace: Path) -> None:
    params, _, target = both()
    transfer_corpus("asap", params, ItemCache())
    table = read_table(target.transfer).merge(read_manifest(target.manifest), on="clip")
    table = table[(table["row"] == ROWS[0]) & ~table["is_score_render"]]
    found = pd.read_csv(target.results / "performers.csv").set_index(["row", "dimension"])
    for dimension, rows in table.groupby("dimension"):
        sds = [g["prediction"].std() for _, g in rows.groupby("segment") if len(g) > 1]
        assert found.loc[(ROWS[0], dimension), "intra_sd"] == pytest.approx(np.mean(sds), abs=1e-6)


def test_the_papers_spread_stands_beside_the_mean_of_the_dimensions_sds(workspace: Path) -> None:
    params, source, paths = both()
    target = read_target(paths, source, params.midi)
    [found] = predict_rows(find_rows(params)[:1], params, source, paths, ItemCache())
    rng = np.random.default_rng(0)
    found.values[:] = 0.1 * rng.normal(size=found.values.shape)
    table = performer_table([found], target, source, params).set_index("dimension")
    single = table.loc[found.setting.dimensions]
    whole = table.loc[MEAN_OF_DIMENSIONS]
    for column in ("intra_sd", "within_sd", "between_sd"):
        assert whole[column] == pytest.approx(single[column].mean(), rel=1e-12)
    assert whole["low"] < whole["intra_sd"] < whole["high"]
    assert whole["ratio_between"] == pytest.approx(whole["within_sd"] / whole["between_sd"])
    assert whole["published"] == 0.020
    mean = table.loc[with_mean(found.setting.dimensions)[-1]]
    assert mean["intra_sd"] < 0.8 * whole["intra_sd"], "independent dimensions cancel in their mean"
    assert np.isnan(mean["published"])
    assert table["published"].notna().sum() == 1 + sum(
        name in PERFORMER_SD for name in found.setting.dimensions
    )


def test_clips_of_one_performer_count_as_one_and_unknown_ones_not(workspace: Path) -> None:
    params, source, paths = both()
    target = read_target(paths, source, params.midi)
    [found] = predict_rows(find_rows(params)[:1], params, source, paths, ItemCache())
    clips = target.clips.copy()
    human = clips[~clips["is_score_render"]]
    place = human.groupby("segment").filter(lambda rows: len(rows) == 3)["segment"].iloc[0]
    names = human.index[human["segment"] == place].tolist()
    row = [found.setting.target_clips.index(name) for name in names]
    clips.loc[clips["segment"] != place, "player"] = UNKNOWN_PLAYER
    clips.loc[names, "player"] = ["a", "b", "a"]
    found.values[row, 0] = [1.0, 5.0, 2.0]
    table = performer_table([found], replace(target, clips=clips), source, params)
    first = table.set_index("dimension").loc[found.setting.dimensions[0]]
    assert first["places"] == 1
    assert first["intra_sd"] == pytest.approx(np.std([1.5, 5.0], ddof=1))
    clips.loc[names, "player"] = ["a", UNKNOWN_PLAYER, UNKNOWN_PLAYER]
    assert performer_table([found], replace(target, clips=clips), source, params).empty


def test_difficulty_is_found_where_it_was_put_and_not_through_the_controls(
    workspace: Path,
) -> None:
    params, source, paths = both()
    target = read_target(paths, source, params.midi)
    found = predict_rows(find_rows(params)[:1], params, source, paths, ItemCache())[0]
    level = target.clips.loc[found.setting.target_clips, "level"].to_numpy()
    tempo = target.clips.loc[found.setting.target_clips, "tempo"].to_numpy()
    found.values[:, 0], found.values[:, 1] = level, tempo
    table = difficulty_table([found], target, params)
    rows = table[table["row"] == found.row.name].set_index("dimension")
    first, second = found.setting.dimensions[:2]
    assert rows.loc[first, "rho"] == pytest.approx(1.0)
    assert rows.loc[first, "pieces"] == len(PIECES)
    assert rows.loc[first, "composers"] == 3
    controls = table[table["row"] == "notes"].set_index("dimension")
    assert list(controls.index) == ["note_density", "tempo"]
    assert rows.loc[second, "rho"] == pytest.approx(controls.loc["tempo", "rho"])
    # Only the place's mean of tempi, not each clip's, is ranked: the control explains it wholly.
    assert np.isnan(rows.loc[second, "partial"])


def test_deadpan_clips_and_what_the_source_has_are_not_counted(workspace: Path) -> None:
    params, source, paths = both()
    manifest = read_manifest(source.manifest)
    mine = read_manifest(paths.manifest)
    # The source gets the score of a piece of the target.
    copied = mine.iloc[0]
    row = manifest.iloc[0].copy()
    row["clip"], row["segment"], row["parent"] = "copy", "copied", None
    row["score_path"], row["tier"] = None, 0
    shutil.copyfile(paths.root / copied["score_path"], source.root / "source" / "copy.mid")
    row["midi_path"] = "source/copy.mid"
    write_manifest(pd.concat([manifest, row.to_frame().T]), source.manifest)
    assert known_segments(paths, source, params.midi) == [copied["segment"]]
    target = read_target(paths, source, params.midi)
    counted = target.human(target.clips.index.tolist(), ["Ravel/Piece_4"])
    assert not counted["is_score_render"].any()
    assert copied["segment"] not in set(counted["segment"])
    assert "Ravel/Piece_4" not in set(counted["movement"])
    assert counted["movement"].nunique() == len(PIECES) - 2


def test_clips_unlike_all_of_training_are_refused(workspace: Path) -> None:
    params, source, paths = both()
    target = read_target(paths, source, params.midi)
    found = predict_rows(find_rows(params)[:1], params, source, paths, ItemCache())[0]
    n = found.setting.n_source
    found.setting.x[n:] = found.setting.x[0]
    found.setting.x[n] = 1e4 * (1 + np.abs(found.setting.x[0]))
    found.values[:] = found.setting.y.mean(axis=0)
    found.values[3, 2] = 99.0
    table = refusals(found, target)
    assert table["unlike"].tolist() == [True] + [False] * (len(table) - 1)
    assert np.flatnonzero(table["range"]).tolist() == [3]
    assert (table["any"] == table[["unlike", "length", "range"]].any(axis=1)).all()


def test_noise_of_labels_and_what_raters_hear(workspace: Path) -> None:
    source = CorpusPaths("studio")
    assert rated_spread(source, "rating") == ({}, {}), "severities are known, not rated"
    rng = np.random.default_rng(0)
    manifest = read_manifest(source.manifest)
    segments = [f"s{i // 20}" for i in range(1200)]
    clips = [f"c{i}" for i in range(1200)]
    rows = pd.concat([manifest.iloc[[0]]] * 1200).assign(clip=clips, segment=segments)
    write_manifest(rows, source.manifest)
    true = 0.3 * rng.normal(size=1200) + np.repeat(rng.normal(size=60), 20)
    labels = pd.DataFrame({"clip": clips, "value": true + 0.1 * rng.normal(size=1200)})
    labels = labels.assign(task="rating", dimension="d", n_raters=9, sd=0.3, low_pole=None,
                           high_pole=None, higher_is_better=None)  # fmt: skip
    write_labels(labels, source.labels)
    noise, rated = rated_spread(source, "rating")
    assert noise["d"] == pytest.approx(0.1)
    assert rated["d"] == pytest.approx(0.3, rel=0.05)


# Parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"axes": {"target": ["studio"]}}, "axes.target names 'studio'"),
        ({"axes": {"target": ["nobody"]}}, "axes.target names 'nobody'"),
        ({"transfer": {"source": "percepiano"}}, "transfer.source names 'percepiano'"),
    ],
)
def test_axes_that_make_no_sense(change: dict[str, dict[str, Any]], what: str) -> None:
    data = settings()
    for block, values in change.items():
        data[block] |= values
    with pytest.raises(ConfigError, match=what):
        parse_params(data)


@pytest.mark.parametrize(
    ("rows", "what"),
    [(["symbolic/mlp"], "which no view lists"), (["symbolic"], "which no view lists"),
     (["nothing/ridge"], "which no view lists")],
)  # fmt: skip
def test_rows_that_are_none(rows: list[str], what: str) -> None:
    data = settings()
    data["transfer"]["rows"] = rows
    with pytest.raises(ConfigError, match=what):
        find_rows(parse_params(data))


def test_without_targets_nothing_is_asked_of_the_source() -> None:
    data = settings()
    data["axes"]["target"] = []
    data["transfer"]["source"] = "percepiano"
    assert parse_params(data).axes.target == []
