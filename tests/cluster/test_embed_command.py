"""``pianoeval embed`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pianoeval.builder import Fill, pool_fill
from pianoeval.cache import ItemCache
from pianoeval.cli import app
from pianoeval.commands import embed as command
from pianoeval.commands import embed_fill as filling
from pianoeval.encoders.extract import embed_corpus, embed_item
from pianoeval.errors import ConfigError, MissingAssetError, PianoevalError
from pianoeval.params import EncoderParams
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from tests.cluster.work import write_audio
from tests.workspaces import make_workspace, small_params, write_params


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline and an empty cache; nothing is rendered."""
    folder = make_workspace(tmp_path / "workspace")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    return folder


def render(folder: Path, n_clips: int, shortest_s: float = 0.3) -> Path:
    path = CorpusPaths("studio", folder).audio("grand")
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_audio(path, n_clips, shortest_s)


def run(*arguments: str) -> str:
    """Standard output; the error that ``main`` would print is raised."""
    done = CliRunner().invoke(app, ["embed", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_items_are_computed_and_no_store_is_written(workspace: Path) -> None:
    audio = render(workspace, 3)
    told = run("studio", "--workers", "1")
    assert "mel, grand: 3 computed" in told
    assert "next: dvc repro" in told
    assert not (workspace / "data" / "studio" / "embeddings").exists()
    report = embed_corpus(audio, "mel", load_params(), ItemCache(), workspace / "out.zarr")
    assert (report.computed, report.reused) == (0, 3)  # what the stage finds afterwards
    told = run("studio", "--cluster", "local", "--json")  # nothing missing: no cluster is started
    [row] = json.loads(told)["embeddings"]
    assert (row["computed"], row["reused"], row["clips"]) == (0, 3, 3)


def test_nothing_is_rendered_yet(workspace: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"not rendered yet\n.*dvc repro render@studio-gra"):
        run("studio")
    with pytest.raises(MissingAssetError, match=r"name studio and upright in axes"):
        run("studio", "--instrument", "upright")


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["nosuch"], "corpora"),
        (["studio", "--encoder", "nosuch"], "encoders"),
        (["studio", "--instrument", "nosuch"], "instruments"),
    ],
)
def test_unknown_names(workspace: Path, arguments: list[str], where: str) -> None:
    with pytest.raises(ConfigError, match=f"{where}: 'nosuch' is not in params.yaml"):
        run(*arguments)


def test_a_clip_that_cannot_be_embedded(workspace: Path) -> None:
    render(workspace, 6, shortest_s=0.02)  # some are shorter than the window of 93 ms
    with pytest.raises(PianoevalError, match=r"of 6 clips failed in embedding-mel.*\n.*max_failed"):
        run("studio", "--workers", "1")


def test_dask_is_an_extra(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(workspace, 1)
    found = command.importlib.util.find_spec
    monkeypatch.setattr(
        command.importlib.util, "find_spec", lambda name: None if "dask" in name else found(name)
    )
    for arguments in (["--cluster", "local"], ["--cluster", "slurm", "--show-script"]):
        with pytest.raises(
            MissingAssetError, match=r"dask.*\n.*pip install 'pianoeval\[cluster\]'"
        ):
            run("studio", *arguments)


def test_the_script_is_shown_without_anything_rendered(workspace: Path, tmp_path: Path) -> None:
    told = run("studio", "--cluster", "slurm", "--show-script")
    assert told.startswith("#!/usr/bin/env bash\n")
    assert f"export PIANOEVAL_CACHE={tmp_path / 'cache'}\n" in told
    with pytest.raises(ConfigError, match="submits no jobs"):
        run("studio", "--show-script")
    with pytest.raises(ConfigError, match="--workers has no meaning"):
        run("studio", "--cluster", "slurm", "--workers", "3")


def test_the_parameters_stand_in_the_file() -> None:
    from pianoeval.params_cluster import ClusterParams
    from tests.workspaces import ROOT

    assert load_params(ROOT / "params.yaml").cluster == ClusterParams()
    assert set(small_params()["cluster"]) == set(ClusterParams.model_fields)
    assert set(small_params()["cluster"]["slurm"]) == set(type(ClusterParams().slurm).model_fields)


def test_two_names_of_one_encoder_compute_nothing_twice(workspace: Path) -> None:
    params = small_params()
    params["encoders"]["other"] = params["encoders"]["mel"]
    write_params(workspace, params)
    render(workspace, 2)
    told = run("studio", "--encoder", "mel", "--encoder", "other", "--json")
    rows = json.loads(told)["embeddings"]
    assert [(row["computed"], row["reused"]) for row in rows] == [(2, 0), (0, 2)]


def test_instruments_share_a_loaded_encoder(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[str]()

    def own_fill(name: str, block: EncoderParams) -> Fill:
        made.append(name)
        return pool_fill(embed_item)

    monkeypatch.setattr(filling, "_own_fill", own_fill)
    for n_clips, instrument in enumerate(("grand", "upright"), 1):
        write_audio(CorpusPaths("studio", workspace).audio(instrument), n_clips)
    told = run("studio", "--instrument", "grand", "--instrument", "upright")
    assert "upright: 1 computed" in told
    assert made == ["mel"]
