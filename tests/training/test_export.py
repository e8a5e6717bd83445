"""Exported models: what is stored predicts what was trained, and a changed file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from pianoeval import __version__
from pianoeval.cache import Item
from pianoeval.cli import app
from pianoeval.corpora.manifest import read_manifest, write_labels, write_manifest
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, MissingAssetError
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.evaluate.state import row_hashes
from pianoeval.evaluate.tables import RESULT_COLUMNS
from pianoeval.features.pooling import pool_store
from pianoeval.features.views import load_view
from pianoeval.models.base import Fold
from pianoeval.models.ridge import predict_ridge_fold
from pianoeval.params import Params
from pianoeval.params_file import parse_params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import canonical_json, sha256_bytes
from pianoeval.store import RaggedStore, write_store
from pianoeval.tablefile import write_table
from pianoeval.training.export import load_exported, save_exported
from pianoeval.training.final import train_final

DIMENSIONS = ("timing", "pedal", "space")


def make_params(**ridge: Any) -> Params:
    blocks: dict[str, Any] = {
        "axes": {"corpus": ["toy"], "instrument": ["grand", "upright"], "encoder": ["mel"],
                 "features": ["symbolic", "mel"]},
        "run": {}, "midi": {}, "corpora": {"toy": {"loader": "studio"}}, "render": {},
        "instruments": {"grand": {"font": "fluidr3-pianos"},
                        "upright": {"font": "generaluser-gs"}},
        "contours": {"instrument": "grand"}, "encoders": {"mel": {"kind": "mel"}},
        "pool": {"stats": ["mean"]}, "folds": {"schemes": ["segment"]},
        "views": {
            "symbolic": {"symbolic": {"models": ["ridge", "extra_trees", "ensemble"]},
                         "trees": {"models": ["extra_trees"]}},
            "mel": {"mel-2": {"layers": "2", "models": ["ridge"]}},
        },
        "probe": {
            "ridge": {"lambdas": [0.3, 3.0, 30.0, 300.0], "inner_folds": 3} | ridge,
            "mlp": {}, "extra_trees": {}, "boosting": {}, "ensemble": ["ridge"],
        },
        "evaluate": {}, "report": {"instrument": "grand"},
    }  # fmt: skip
    return parse_params(blocks)


def write_clips(paths: CorpusPaths) -> list[str]:
    """Two movements of four segments, four players; the last clip has no label."""
    random = np.random.default_rng(0)
    rows = [
        {
            "clip": f"m{m}_s{s}_p{p}", "corpus": "toy", "corpus_version": "7",
            "licence": "MIT" if m else "made for a test", "redistributable": bool(m),
            "audio_path": None, "midi_path": "x.mid", "score_path": None, "start_s": 0.0,
            "end_s": 8.0, "sha256": f"{m}{s}{p}", "source": "disklavier", "composer": None,
            "composition": "c", "movement": f"m{m}", "segment": f"m{m}_s{s}",
            "content_group": f"m{m}_s{s}", "instrument": None, "player": f"p{p}",
            "is_score_render": False, "take": "1", "parent": None, "tier": 0,
        }
        for m in range(2) for s in range(4) for p in range(4)
    ]  # fmt: skip
    manifest = pd.DataFrame(rows)
    write_manifest(manifest, paths.manifest)
    labels = [
        {"clip": row["clip"], "task": "rating", "dimension": name,
         "value": 0.5 + 0.2 * float(random.uniform(-1, 1)), "n_raters": 5, "sd": 0.1,
         "low_pole": "little", "high_pole": "much",
         "higher_is_better": True if name == "space" else None}
        for row in rows[:-1] for name in DIMENSIONS
    ]  # fmt: skip
    write_labels(pd.DataFrame(labels), paths.labels)
    return [str(row["clip"]) for row in rows]


def write_symbolic(paths: CorpusPaths, clips: list[str], n: int, seed: int = 1) -> pd.DataFrame:
    """Features of very different size, two patterns of absence, one constant column."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(len(clips), n)) * 10.0 ** random.integers(-3, 4, n)
    table = pd.DataFrame(x, columns=[f"f{i}" for i in range(n)], index=pd.Index(clips, name="clip"))
    table["f1"] = 4.2
    table.iloc[2:5, [2, 3]] = np.nan
    table.iloc[7:9, 4] = np.nan
    paths.symbolic.parent.mkdir(parents=True, exist_ok=True)
    write_table(table.reset_index(), paths.symbolic)
    return table


def write_pooled(paths: CorpusPaths, instrument: str, clips: list[str], **attrs: Any) -> None:
    random = np.random.default_rng(len(instrument))
    items = [
        (clip, f"key-{clip}",
         Item({"frames": random.normal(size=(4, 2, 40)).astype(np.float16),
               "level": random.normal(size=3).astype(np.float32)}, {}, ""))
        for clip in clips
    ]  # fmt: skip
    store = paths.embeddings("mel", instrument)
    told = {
        "layers": ["1", "2"], "weights_sha256": "abc", "dim": 40, "precision": "float32",
        "step": "embedding", "encoder": "mel", "instrument_name": instrument,
    }  # fmt: skip
    write_store(store, items, attrs=told | attrs, quarantined={})
    pool_store(RaggedStore(store), ["mean"], paths.pooled("mel", instrument))


@pytest.fixture
def paths(tmp_path: Path) -> CorpusPaths:
    paths = CorpusPaths("toy", tmp_path)
    write_symbolic(paths, write_clips(paths), 9)
    return paths


@pytest.fixture
def exported(paths: CorpusPaths, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    save_exported(train_final(paths, make_params(), "symbolic", "ridge"), out, "# card\n")
    return out


def sklearn_prediction(x: np.ndarray, y: np.ndarray, penalty: list[float]) -> np.ndarray:
    """Rows without label are predicted from those with one."""
    rows = np.isfinite(y).all(axis=1)
    columns = []
    for d, value in enumerate(penalty):
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        model = make_pipeline(imputer, StandardScaler(), Ridge(alpha=value))
        columns.append(model.fit(x[rows], y[rows, d]).predict(x))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("n", [9, 60])
@pytest.mark.parametrize("per_output", [False, True])
def test_the_files_predict_what_scikit_learn_and_training_do(
    paths: CorpusPaths, tmp_path: Path, n: int, per_output: bool
) -> None:
    """Fewer features than clips, and more."""
    clips = write_clips(paths)
    write_symbolic(paths, clips, n)
    params = make_params(per_output=per_output)
    trained = train_final(paths, params, "symbolic", "ridge")
    save_exported(trained, tmp_path / "out", "")
    model = load_exported(tmp_path / "out")
    view = load_view("symbolic", "symbolic", params, paths, clips)
    labels = pd.read_parquet(paths.labels).pivot(index="clip", columns="dimension", values="value")
    y = labels.reindex(view.clips)[list(DIMENSIONS)].to_numpy()
    penalty = trained.config["ridge"]["lambda"]
    assert len(set(penalty)) == 1 or per_output
    found = model.predict(view.x)
    np.testing.assert_allclose(found, sklearn_prediction(view.x, y, penalty), atol=1e-6)
    rows = np.flatnonzero(np.isfinite(y).all(axis=1))
    manifest = pd.read_parquet(paths.manifest)
    names = np.array(view.clips, dtype=object)[rows]
    cut = divide(manifest, "content", names, y[rows], params.probe)
    fold = Fold("all", view.x, rows, np.arange(len(y)), y[rows], cut.inner)
    checked = predict_ridge_fold(fold, params.probe.ridge)
    np.testing.assert_allclose(found, checked.values, atol=1e-6)
    assert (found.std(axis=0) > 1e-3).all()
    assert penalty == checked.selection["lambda"]
    assert model.dimensions == list(DIMENSIONS)


def test_the_model_says_what_it_is_and_whence(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "config.json", "model.safetensors", "README.md",
    }  # fmt: skip
    config = load_exported(exported).config
    assert config["pianoeval"] == __version__
    assert config["dimensions"][2]["higher_is_better"] is True
    assert config["dimensions"][0]["higher_is_better"] is None
    assert config["dimensions"][0]["high_pole"] == "much"
    assert config["ridge"]["chosen_on"] == "content_group"
    assert config["corpus"] == {
        "name": "toy", "versions": ["7"], "clips": 31, "recorded": 0,
        "groups": {"segment": 8, "content_group": 8, "movement": 2, "composition": 1, "player": 4},
        "licences": [
            {"licence": "MIT", "redistributable": True, "clips": 15},
            {"licence": "made for a test", "redistributable": False, "clips": 16},
        ],
    }  # fmt: skip
    assert config["inputs"]["indicators"] == {"missing_0": ["f2", "f3"], "missing_1": ["f4"]}


def test_absent_values_become_the_stored_median(exported: Path, paths: CorpusPaths) -> None:
    model = load_exported(exported)
    x, clips = model.read(paths)
    assert clips == sorted(clips)
    holed, filled = x.copy(), x.copy()
    holed[:, 5], filled[:, 5] = np.nan, model.standardiser.median[5]
    np.testing.assert_allclose(model.predict(holed), model.predict(filled), atol=1e-6)
    assert np.abs(model.predict(holed) - model.predict(x)).max() > 1e-4
    known = pd.read_parquet(paths.symbolic)["f2"][:-1].dropna()  # the last clip has no label
    assert model.standardiser.median[2] == pytest.approx(np.median(known), rel=1e-6)


def test_indicators_keep_their_meaning_in_another_corpus(
    exported: Path, paths: CorpusPaths, tmp_path: Path
) -> None:
    """There f4 alone is absent, which a new numbering would call missing_0."""
    model = load_exported(exported)
    other = CorpusPaths("other", tmp_path)
    table = pd.read_parquet(paths.symbolic).set_index("clip").iloc[[0, 1]]
    table = table.assign(f4=[np.nan, 1.0], extra=3.0)[["extra", *reversed(table.columns)]]
    other.symbolic.parent.mkdir(parents=True)
    write_table(table.rename_axis("clip").reset_index(), other.symbolic)
    x, clips = model.read(other)
    assert clips == list(table.index)
    np.testing.assert_array_equal(x[:, -2:], [[0, 1], [0, 0]])
    np.testing.assert_allclose(x[:, 0], table["f0"].to_numpy(np.float32))
    write_table(table.drop(columns=["f3", "f5"]).rename_axis("clip").reset_index(), other.symbolic)
    with pytest.raises(BadInputError, match="lacks f3, f5"):
        model.read(other)


def test_embeddings_are_those_of_the_same_encoder(paths: CorpusPaths, tmp_path: Path) -> None:
    clips = [str(c) for c in pd.read_parquet(paths.manifest)["clip"]]
    for instrument in ("grand", "upright"):
        write_pooled(paths, instrument, clips)
    params = make_params()
    save_exported(train_final(paths, params, "mel-2", "ridge"), tmp_path / "out", "")
    model = load_exported(tmp_path / "out")
    assert model.config["inputs"]["encoder"]["weights_sha256"] == "abc"
    assert [asset["name"] for asset in model.config["assets"]] == [
        "fluidr3-pianos", "generaluser-gs",
    ]  # fmt: skip
    x, found = model.read(paths)
    view = load_view("mel", "mel-2", params, paths, found)
    np.testing.assert_array_equal(x, view.x)
    other = CorpusPaths("other", tmp_path)
    for instrument in ("grand", "upright"):
        write_pooled(other, instrument, ["a", "b"], weights_sha256="def")
    with pytest.raises(BadInputError, match="another encoder: weights_sha256 differ"):
        model.read(other)


@pytest.mark.parametrize("part", ["weights", "config", "format", "shape", "absent"])
def test_a_changed_file_is_refused(exported: Path, part: str) -> None:
    weights, config = exported / "model.safetensors", exported / "config.json"
    told = json.loads(config.read_text())
    if part == "weights":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(bytes(data))
    elif part == "config":
        config.write_text(config.read_text().replace('"toy"', '"boy"', 1))
    elif part == "format":
        config.write_text(json.dumps(told | {"format": "pickle"}))
    elif part == "shape":
        tensors = load_file(weights)
        save_file(tensors | {"weights": tensors["weights"][:-1].copy()}, weights)
        del told["sha256"]
        told["files"] = {"model.safetensors": sha256_bytes(weights.read_bytes())}
        told["sha256"] = sha256_bytes(canonical_json(told).encode())
        config.write_text(json.dumps(told))
    else:
        weights.unlink()
    with pytest.raises(MissingAssetError if part == "absent" else CorruptDataError) as error:
        load_exported(exported)
    assert error.value.next_step


def test_features_that_cannot_be_used_are_refused(exported: Path, paths: CorpusPaths) -> None:
    model = load_exported(exported)
    x, _ = model.read(paths)
    with pytest.raises(BadInputError, match=r"features of shape \(32, 10\)"):
        model.predict(x[:, :-1])
    for value in (np.inf, np.nan):
        broken = x.copy()
        broken[3] = value
        with pytest.raises(BadInputError, match="row 3"):
            model.predict(broken)


@pytest.mark.parametrize(
    ("view", "model", "what"),
    [
        ("symbolic", "extra_trees", "'extra_trees' cannot be exported"),
        ("symbolic", "ensemble", "'ensemble' cannot be exported"),
        ("symbolic", "mlp", "'mlp' cannot be exported"),
        ("trees", "ridge", "has no ridge"),
        ("muq", "ridge", "no view 'muq'"),
    ],
)
def test_what_can_be_exported_is_said(paths: CorpusPaths, view: str, model: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        train_final(paths, make_params(), view, model)
    assert "symbolic" in str(error.value.allowed)


def test_what_a_killed_export_left_does_not_stop_the_next(exported: Path) -> None:
    model = load_exported(exported)
    (exported / ".model.safetensors.partial").write_bytes(b"half")
    (exported / "config.json").unlink()
    save_exported(model, exported, "# second\n")
    assert load_exported(exported).dimensions == model.dimensions
    names = {"model.safetensors", "config.json", "README.md"}
    assert {path.name for path in exported.iterdir()} == names


def test_a_folder_of_something_else_is_left_alone(exported: Path, paths: CorpusPaths) -> None:
    model = load_exported(exported)
    save_exported(model, exported, "# second\n")
    assert (exported / "README.md").read_text() == "# second\n"
    assert load_exported(exported).config == model.config
    (exported / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        save_exported(model, exported, "")
    assert (exported / "README.md").read_text() == "# second\n"


def test_symbolic_features_need_midi(paths: CorpusPaths) -> None:
    manifest = read_manifest(paths.manifest)
    write_manifest(manifest.assign(midi_path=None, audio_path="x.wav"), paths.manifest)
    with pytest.raises(BadInputError, match="no clip has MIDI") as error:
        train_final(paths, make_params(), "symbolic", "ridge")
    assert error.value.next_step == "export a view of audio"


def test_one_take_is_too_little_to_choose_a_penalty(paths: CorpusPaths) -> None:
    labels = pd.read_parquet(paths.labels)
    write_table(labels[labels["clip"] == "m0_s0_p0"], paths.labels)
    with pytest.raises(BadInputError, match="penalty cannot be chosen"):
        train_final(paths, make_params(), "symbolic", "ridge")


def write_results(paths: CorpusPaths, params: Params) -> None:
    """One scheme with the model and its baseline."""
    told = {
        "corpus": "toy", "task": "rating", "scheme": "content", "subset": "all", "interval": "",
        "dimension": "mean", "metric": "r2_pooled", "ci_low": None, "ci_high": None,
        "n_clips": 31, "n_clusters": 8, "seed": 0, "commit": "abc",
        "config_hash": row_hashes(params, "toy", ["symbolic"])["symbolic"],
    }  # fmt: skip
    rows = [
        told | {"features": "symbolic", "model": "ridge", "value": 0.31},
        told | {"features": "none", "model": "training_mean", "value": -0.02},
    ]
    paths.results.mkdir(parents=True)
    table = pd.DataFrame(rows, columns=RESULT_COLUMNS)
    table.to_csv(paths.results / "results.csv", index=False)
    (paths.results / "summary.json").write_text('{"simulated": false}')


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"revision": "b" * 40, "digest": "0" * 64},
         (f"OpenMuQ/MuQ-large-msd-iter@{'b' * 40}", "0" * 64)),
        ({"digest": "0" * 64}, ("OpenMuQ/MuQ-large-msd-iter", "0" * 64)),
        ({"weights": "random"}, None),
    ],
)  # fmt: skip
def test_weights_of_a_checkpoint_are_named_with_their_licence(
    paths: CorpusPaths, changes: dict[str, str], expected: tuple[str, str] | None
) -> None:
    """Features may be exported where the checkpoint itself is not."""
    clips = write_clips(paths)
    for instrument in ("grand", "upright"):
        write_pooled(paths, instrument, clips)
    data = make_params().model_dump(mode="json")
    data["encoders"]["mel"] = {"kind": "muq", "model": "OpenMuQ/MuQ-large-msd-iter"} | changes
    assets = train_final(paths, parse_params(data), "mel-2", "ridge").config["assets"]
    fonts = ["fluidr3-pianos", "generaluser-gs"]
    assert [asset["name"] for asset in assets[-2:]] == fonts
    named = [(asset["name"], asset["sha256"]) for asset in assets[:-2]]
    assert named == ([expected] if expected else [])
    assert all("CC BY-NC 4.0" in asset["licence"] for asset in assets[:-2])


def test_the_command_writes_model_and_card(
    paths: CorpusPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = make_params()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    monkeypatch.chdir(tmp_path)
    write_results(paths, params)
    arguments = ["export", "toy", "symbolic/ridge", "--out", "made"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "read made/README.md" in done.output
    model = load_exported(tmp_path / "made")
    x, _ = model.read(paths)
    assert model.predict(x).shape == (32, 3)
    card = (tmp_path / "made" / "README.md").read_text()
    assert "0.310" in card
    assert "−0.020, " in card
    with pytest.raises(ConfigError, match="names no model"):
        CliRunner().invoke(app, ["export", "toy", "symbolic", "--out", "x"], catch_exceptions=False)
    monkeypatch.setattr("pianoeval.training.final.row_hashes", lambda *_: {"symbolic": "other"})
    with pytest.raises(ConfigError, match="another configuration"):
        CliRunner().invoke(app, [*arguments[:-1], "new"], catch_exceptions=False)
    assert not (tmp_path / "new").exists()
