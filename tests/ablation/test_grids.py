"""Grids of the shipped parameters: overrides that DVC and the parameters accept, and refusals."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import scale
from workspaces import ROOT

from pianoeval.ablation.experiments import experiments
from pianoeval.ablation.grids import GRIDS, Grid, Request, choose_target, layer_names, parameter
from pianoeval.ablation.overrides import (
    ENCODING_BLOCKS,
    apply,
    assign,
    key_of,
    refuse_encoding,
    written,
)
from pianoeval.builder import ENCODE, ItemJob, build_store
from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import write_manifest
from pianoeval.encoders.layers import parse_layers
from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.params import Params, RunParams
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from tests.evaluate import evaluation_cases

DATA: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
PARAMS = load_params(ROOT / "params.yaml")
BELOW = ("encoders", "instruments", "render", "contours", "corpora", "midi")


def make(
    grid: str, *values: str, extra: tuple[str, ...] = (), base: str = "", **named: str
) -> Grid:
    target = choose_target(PARAMS, grid, **named)
    request = Request(PARAMS, DATA, target, values, extra, base)
    return GRIDS[grid](request) if grid in GRIDS else parameter(request, grid)


def applied(grid: Grid) -> dict[str, Params]:
    return {point.label: apply(DATA, point.overrides)[0] for point in grid.points}


REFUSED = {("layers", name) for name in ("symbolic", "notes", "mel", "spectrogram")} | {
    ("pooling", "symbolic"),
    ("pooling", "notes"),
}
# Every grid, every encoder ---------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("features", list(PARAMS.views))
def test_every_point_is_accepted_and_trains_one_model(grid: str, features: str) -> None:
    """Real overrides through DVC's own code, validated as a stage would validate them."""
    if (grid, features) in REFUSED:
        with pytest.raises(ConfigError, match=r"has one layer|layers of|no frames to pool"):
            make(grid, features=features)
        return
    made = make(grid, features=features)
    assert len(made.points) >= 2
    assert made.baseline in {point.label for point in made.points}
    points = made.points[:: scale(4, 1)]  # 0.1 s each
    found = {point.label: apply(DATA, point.overrides)[0] for point in points}
    for point in points:
        params = found[point.label]
        view, model = point.row.split("/")
        assert params.axes.corpus == ["studio"]
        assert params.axes.features == [features]
        assert list(params.views[features]) == [view]
        assert params.views[features][view].models == [model]
        assert params.probe.controls.labels == []
        assert params.probe.learning_curve.percents == []
        assert PARAMS.rank.rankers  # of views that may not be here
        assert params.rank.rankers == {}
        assert PARAMS.contrast.heads
        assert params.contrast.heads == {}
        for block in BELOW:  # nothing that is computed before pooling is touched
            assert getattr(params, block) == getattr(PARAMS, block)
        refuse_encoding(point.overrides)
        if grid == "layers":
            names = layer_names(PARAMS, features)
            parse_layers(params.views[features][view].layers, names)
    changed = [params.model_dump_json() for params in found.values()]
    assert len(set(changed)) == len(changed)


def test_layers_alone_in_thirds_all_and_mixed() -> None:
    made = make("layers", features="muq")
    labels = [point.label for point in made.points]
    assert labels == [*map(str, range(13)), "1..4", "5..8", "9..12", "all", "mix"]
    assert {p.label: p.row for p in made.points}["mix"] == "muq/layer_mlp"
    assert {p.row for p in made.points if p.label != "mix"} == {"muq/ridge"}
    assert made.baseline == "all"
    found = applied(make("layers", "4", "1..6,ctx", "all", features="transkun"))
    layers = [params.views["transkun"]["transkun"].layers for params in found.values()]
    assert layers == ["4", "1..6,ctx", "all"]


def test_pooling_offers_what_pooling_knows() -> None:
    found = applied(make("pooling", features="transkun"))
    assert [params.pool.stats for params in found.values()] == [
        ["mean"], ["std"], ["max"], ["min"], ["mean", "std"], ["mean", "max"], ["mean", "min"],
        ["mean", "std", "max", "min"],
    ]  # fmt: skip
    assert make("pooling", features="mel").baseline == "mean+std"
    assert (
        make("pooling", "mean,std", "max").points[0].overrides
        == make("pooling", "mean+std", "max").points[0].overrides
    )


def test_losses_train_a_perceptron() -> None:
    assert make("loss", features="mel").first.row == "mel/mlp"
    assert make("loss", features="symbolic").first.row == "symbolic/mlp"
    assert make("loss", features="transkun").first.row == "transkun/layer_mlp"
    assert make("loss", features="transkun", view="transkun-4").first.row == "transkun-4/mlp"
    found = applied(make("loss", features="mel"))
    assert [p.probe.mlp.loss for p in found.values()] == [
        "mse", "mae", "huber", "ccc", "hybrid", "bootstrap", "bootstrap_soft", "bootstrap_hard",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="ridge has one loss"):
        make("loss", model="ridge")


def test_schemes_are_cut_one_a_point() -> None:
    made = make("scheme", "segment", "movement", "random")
    assert [p.scheme for p in made.points] == ["segment", "movement", "random"]
    assert [p.folds.schemes for p in applied(made).values()] == [
        ["segment"], ["movement"], ["random"]
    ]  # fmt: skip
    assert made.baseline == "movement"
    assert make("scheme", "segment", "random").baseline == "segment"


def test_any_parameter() -> None:
    made = make("probe.mlp.hidden", "64", "128", model="mlp", features="mel")
    assert [p.probe.mlp.hidden for p in applied(made).values()] == [64, 128]
    assert made.baseline == "64"
    made = make("probe.ridge.lambdas", "[1,10]", "[100]", extra=("folds.n_folds=3",), base="[100]")
    found = applied(made)
    assert [p.probe.ridge.lambdas for p in found.values()] == [[1, 10], [100]]
    assert {p.folds.n_folds for p in found.values()} == {3}
    assert made.first.label == "[100]"


def test_only_what_differs_is_said() -> None:
    made = make("layers", "all", "4", features="transkun")
    assert not any(o.startswith(("axes.corpus", "views.transkun.transkun.layers"))
                   for o in made.points[0].overrides)  # fmt: skip
    assert 'views.transkun.transkun.layers="4"' in made.points[1].overrides


# Bad requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "values", "named", "message"),
    [
        ("layers", ["99", "1"], {"features": "transkun"}, "unknown layer '99'"),
        ("rank.rankers.dual.seed", ["1", "2"], {}, "rankers are not among the rows"),
        ("contrast.heads.joint.margin", ["1", "2"], {}, "heads are not among the rows"),
        ("layers", ["6..1", "1"], {"features": "transkun"}, "runs backwards"),
        ("layers", ["1"], {"features": "transkun"}, "two or more different points"),
        ("layers", ["1", "1"], {"features": "transkun"}, "two or more different points"),
        ("layers", [], {"features": "mel"}, "has one layer"),
        ("layers", [], {"features": "symbolic"}, "layers of 'symbolic'"),
        ("pooling", [], {"features": "symbolic"}, "no frames"),
        ("layers", [], {"features": "nothing"}, "'nothing' is not known"),
        ("layers", [], {"corpus": "nothing"}, "'nothing' is not known"),
        ("layers", [], {"view": "nothing"}, "'nothing' is not known"),
        ("layers", [], {"model": "nothing"}, "'nothing' is not known"),
        ("layers", [], {"model": "ensemble"}, "'ensemble' is not known"),
        ("folds.n_folds", [], {}, "needs values"),
    ],
)
def test_a_grid_that_cannot_be(
    grid: str, values: list[str], named: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make(grid, *values, **named)
    assert error.value.next_step


def test_a_baseline_is_one_of_the_points() -> None:
    assert make("layers", "1", "2", features="transkun", base="2").baseline == "2"
    with pytest.raises(ConfigError, match="the baseline is '3'"):
        make("layers", "1", "2", features="transkun", base="3")


def test_several_corpora_have_to_be_chosen_from() -> None:
    axes = PARAMS.axes.model_copy(update={"corpus": ["studio", "percepiano"]})
    params = PARAMS.model_copy(update={"axes": axes})
    with pytest.raises(ConfigError, match="several corpora"):
        choose_target(params, "layers")
    assert choose_target(params, "layers", "percepiano").corpus == "percepiano"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["folds.n_foldz=3"], "dvc cannot set this|unknown parameter"),
        (["folds.n_folds=1"], "folds.n_folds"),
        (["folds.n_folds"], "dvc cannot set this"),
        (["pool.stats=[median]"], "pool.stats"),
        (["+folds.other=1"], "unknown parameter 'folds.other'"),
        (["probe.mlp.loss=median"], "probe.mlp.loss"),
        (["a b=c"], "dvc cannot set this"),
        (["~views.transkun"], "axes.features names 'transkun'"),
    ],
)
def test_overrides_that_are_not_accepted(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply(DATA, overrides)


@pytest.mark.parametrize("block", ENCODING_BLOCKS)
def test_what_reaches_the_encoders_is_refused(block: str) -> None:
    for override in (f"{block}.x=1", f"+{block}.x=1", f"~{block}.x", f"++{block}=1"):
        with pytest.raises(ConfigError, match="render or encode") as error:
            refuse_encoding(["folds.seed=1", override])
        assert "--allow-encoding" in str(error.value.next_step)
    refuse_encoding(["folds.seed=1", "pool.stats=[max]", "views.mel.mel.level=false"])


@pytest.mark.parametrize("text", ["", "=1", "folds.seed", "+=2"])
def test_what_sets_nothing(text: str) -> None:
    with pytest.raises(ConfigError, match="sets nothing"):
        key_of(text)


# Values as they are written ----------------------------------------------------------------------

VALUES = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6, allow_nan=False)
    | st.sampled_from(["mean", "4", "1..6,ctx", "true", "null", "a b", "x-1", "1e3", "[", 'q"q']),
    lambda part: st.lists(part, max_size=3), max_leaves=5,
)  # fmt: skip


@given(VALUES)
@settings(max_examples=40, deadline=None)
def test_a_written_value_is_read_as_it_was(value: Any) -> None:
    """Through DVC's own parser of overrides."""
    from dvc.utils.hydra import to_hydra_overrides

    (parsed,) = to_hydra_overrides([f"key={written(value)}"])
    assert parsed.value() == value
    assert shlex.split(shlex.join([f"key={written(value)}"])) == [f"key={written(value)}"]


def test_a_value_that_is_there_already_is_not_set() -> None:
    data = {"a": {"b": [1]}}
    assert assign(data, "a.b", [1]) == []
    assert assign(data, "a.b", [2]) == ["a.b=[2]"]
    assert assign(data, "a.c", "x") == ["+a.c=x"]
    assert assign(data, "a.b.c", "x") == ["+a.b.c=x"]


def test_nothing_is_left_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    apply(DATA, ["folds.seed=1"])
    assert list(tmp_path.iterdir()) == []


# Experiments -----------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Parameters, and code of which git can tell the hash."""
    for name in ("pianoeval", "stages"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.py").write_text("")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    own = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "x"]):
        subprocess.run([*own, *command], cwd=tmp_path, check=True)
    return tmp_path


def lock(root: Path, **hashes: str) -> None:
    stages = {
        f"{name}@studio": {"cmd": "x", "outs": [{"path": f"data/studio/{name}", "md5": md5}]}
        for name, md5 in hashes.items()
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_other_clips_under_the_same_parameters_are_other_experiments(repository: Path) -> None:
    """Else a grid over a folder of recordings would show what was found before some were added."""
    grid = make("loss", "mse", "ccc", features="mel", corpus="studio")

    def names() -> list[str]:
        return [one.name for one in experiments(grid, DATA, repository)]

    lock(repository, ingest="a", folds="b")
    before = names()
    lock(repository, ingest="a", folds="c")  # what an experiment changes itself
    assert names() == before
    lock(repository, ingest="d", folds="b")
    assert not set(names()) & set(before)


def test_a_scheme_that_the_corpus_cannot_fill_is_refused_before_anything_runs(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make("scheme", "segment", "player", "random", features="mel", corpus="studio")
    assert len(experiments(grid, DATA, repository)) == 3
    assert "dvc pull data/studio/clips" in caplog.text  # nobody can tell without them
    same = dict.fromkeys(("composition", "movement", "content_group", "player", "take"), "x")
    rows = [
        evaluation_cases.ROW | same | {"is_score_render": False}
        | {"clip": f"c{i}", "segment": f"s{i}", "take": f"t{i}", "sha256": f"{i}"}
        for i in range(6)
    ]  # fmt: skip
    write_manifest(pd.DataFrame(rows), CorpusPaths("studio", repository).manifest)
    with pytest.raises(ConfigError, match=r"player: all clips share one player") as error:
        experiments(grid, DATA, repository)
    assert error.value.next_step == "pianoeval ablate scheme segment random"


def test_a_run_that_may_not_encode_stops_at_what_is_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``--run`` sets for every stage; the number of computations is what counts."""
    monkeypatch.setenv(ENCODE, "never")
    computed = []

    def frames(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        computed.append(number)
        return {"frames": np.zeros((2, 1, 2), np.float16), "level": np.zeros(3, np.float32)}, {}

    cache = ItemCache(tmp_path / "items")
    jobs = [ItemJob(f"clip{n}", f"{n:064x}", n, 1.0) for n in range(2)]
    options: dict[str, Any] = {
        "cache": cache, "attrs": {"step": "embedding-mel"}, "run": RunParams(workers=1)
    }  # fmt: skip
    with pytest.raises(PianoevalError, match="forbids to compute"):
        build_store("embedding-mel", jobs, frames, out=tmp_path / "a", **options)
    assert computed == []
    for job in jobs:
        cache.put("embedding-mel", job.key, *frames(job.payload))
    computed.clear()
    build_store("embedding-mel", jobs, frames, out=tmp_path / "a", **options)
    assert computed == []
