"""What ``pip install`` of a wheel gives, far from the repository: it embeds and judges files."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from finished import Finished
from levels import FULL, record
from typer.testing import CliRunner
from workspaces import ROOT

from pianoeval.audio.instruments import _bank
from pianoeval.cache import ItemCache
from pianoeval.cli import app
from pianoeval.errors import BadInputError, MissingAssetError
from pianoeval.features.pooling import PooledStore
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore
from pianoeval.training.export import load_exported

_MAIN = "import sys; from pianoeval.cli import main; main()"
_SOURCES = ("pianoeval", "pyproject.toml", "README.md", "LICENSE", "params.yaml")


@dataclass(frozen=True)
class Installed:
    """An unpacked wheel, and an empty folder to work in."""

    wheel: Path
    sdist: Path
    site: Path
    home: Path

    def run(
        self, *arguments: str | Path, cache: Path | None = None, code: str = _MAIN
    ) -> subprocess.CompletedProcess[str]:
        """``pianoeval ...`` as the wheel has it."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIANOEVAL", "DVC_"))}
        told = {
            "PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(self.home / "xdg"), "HOME": str(self.home),
        }  # fmt: skip
        if cache is not None:
            told["PIANOEVAL_CACHE"] = str(cache)
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], cwd=self.home, env=kept | told,
            capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built from a copy of the sources, because building leaves things beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    sources, out = folder / "sources", folder / "out"
    sources.mkdir()
    for name in _SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, sources / name, symlinks=True, ignore=ignored)
        else:
            shutil.copyfile(ROOT / name, sources / name)
    build = "import sys; from setuptools import build_meta as b; b.build_sdist(sys.argv[1])"
    for command in (
        ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, "."],
        ["-c", build, out],
    ):
        done = subprocess.run(
            [sys.executable, *map(str, command)], cwd=sources, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    (folder / "home").mkdir()
    return Installed(wheel, sdist, folder / "site", folder / "home")


def test_wheel_and_sdist_hold_the_package_and_its_data(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
        shipped = archive.read("pianoeval/default_params.yaml")
        metadata = next(n for n in names if n.endswith(".dist-info/METADATA"))
        assert b"Requires-Python: >=3.11" in archive.read(metadata)
    assert shipped == (ROOT / "params.yaml").read_bytes()
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pianoeval").rglob("*")
        if path.suffix in {".py", ".sha256", ".j2", ".css", ".js"} and path.is_file()
    }
    assert wanted <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"pianoeval"}
    with tarfile.open(installed.sdist) as archive:
        [member] = [m for m in archive if m.name.endswith("/pianoeval/default_params.yaml")]
        found = archive.extractfile(member)  # follows a link inside the archive
        assert found is not None
        assert found.read() == shipped


def test_doctor_outside_of_a_workspace(installed: Installed) -> None:
    done = installed.run("doctor", "--json")
    rows = {(row["area"], row["name"]): row for row in json.loads(done.stdout)}
    assert "ship with pianoeval" in rows["workspace", "params.yaml"]["detail"]
    assert str(installed.home / "xdg" / "pianoeval") in rows["cache", "folder"]["detail"]
    assert all(row["good"] for row in rows.values()), done.stdout  # nothing chosen, nothing amiss
    assert done.returncode == 0
    assert not (installed.home / "cache").exists()


def test_help_and_shipped_parameters(installed: Installed) -> None:
    done = installed.run("--help")
    assert done.returncode == 0
    assert "score" in done.stdout
    where = installed.run(code="import pianoeval; print(pianoeval.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed.site)
    shown = installed.run("params").stdout
    assert shown == (ROOT / "params.yaml").read_text(encoding="utf-8")


def clips_of(finished: Finished) -> pd.DataFrame:
    return pd.read_parquet(CorpusPaths("studio", finished.workspace).manifest)


def midi_file(finished: Finished, clip: str) -> Path:
    table = clips_of(finished).set_index("clip")
    return CorpusPaths("studio", finished.workspace).root / str(table.loc[clip, "midi_path"])


@pytest.fixture(scope="module")
def models(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the models ``mel`` and ``symbolic`` of the small workspace."""
    folder = tmp_path_factory.mktemp("models")
    views = ("mel", "symbolic")
    calls = [["export", "studio", f"{v}/ridge", "--out", str(folder / v)] for v in views]
    code = f"""
from pianoeval.cli import app
for call in {calls!r}:
    app(call, standalone_mode=False)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=finished.workspace, env=finished.environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"pianoeval score FILE... --model {folder / 'mel'}" in done.stdout
    return folder


def write_tone(path: Path, seconds: float = 3.0) -> Path:
    time_s = np.arange(round(22_050 * seconds)) / 22_050
    soundfile.write(path, 0.3 * np.sin(880 * np.pi * time_s) * np.exp(-time_s), 22_050)
    return path


def test_files_are_embedded_and_share_items_with_the_pipeline(
    installed: Installed, finished: Finished, tmp_path: Path
) -> None:
    store = RaggedStore(CorpusPaths("studio", finished.workspace).embeddings("mel", "grand"))
    clip = store.clips[0]
    midi = midi_file(finished, clip)
    copy = Finished(finished.workspace, tmp_path / "cache")
    shutil.copytree(finished.cache, copy.cache, symlinks=True)
    tone = write_tone(installed.home / "tone.wav")
    (installed.home / "broken.wav").write_bytes(b"RIFF")
    done = installed.run(
        "embed", tone.name, midi, "broken.wav", "--encoder", "mel", "--out", "e.zarr", "--json",
        "--workers", "1", cache=copy.cache,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert (told["computed"], told["reused"]) == (1, 1)  # the clip of the corpus is not encoded
    assert list(told["failed"]) == ["broken.wav"]
    assert "broken.wav: not readable as audio" in done.stderr
    written = RaggedStore(installed.home / "e.zarr")
    assert written.clips == ["tone.wav", str(midi)]
    assert written.item_key(str(midi)) == store.item_key(clip)
    assert written.digest(str(midi)) == store.digest(clip)
    assert np.isfinite(written.frames("tone.wav")).all()


def scored(
    installed: Installed, finished: Finished, *arguments: str | Path
) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    done = installed.run("score", *arguments, "--json", "--workers", "1", cache=finished.cache)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done


def predictions(told: dict[str, Any], names: Sequence[str]) -> np.ndarray:
    return np.array([[row["predictions"][name] for name in names] for row in told["files"]])


def test_scores_are_what_the_pipeline_predicts(
    installed: Installed, finished: Finished, models: Path
) -> None:
    model = load_exported(models / "mel")
    pooled = PooledStore(CorpusPaths("studio", finished.workspace).pooled("mel", "grand"))
    chosen = [pooled.clips[0], pooled.clips[-1]]
    matrix = pooled.matrix().values
    expected = model.predict(matrix[[pooled.clips.index(clip) for clip in chosen]])
    files = [midi_file(finished, clip) for clip in chosen]
    before = sum(1 for _ in (finished.cache / "items" / "embedding-mel").rglob("*.safetensors"))
    told, done = scored(installed, finished, *files, "nosuch.mid", "--model", models / "mel")
    assert done.returncode == 1
    assert list(told["failed"]) == ["nosuch.mid"]
    assert [row["file"] for row in told["files"]] == [str(file) for file in files]
    found = predictions(told, model.dimensions)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert all(row["inside"] and row["notes"] == [] for row in told["files"])
    after = sum(1 for _ in (finished.cache / "items" / "embedding-mel").rglob("*.safetensors"))
    assert after == before
    quality = told["quality"]
    results = pd.read_csv(finished.workspace / "reports" / "studio" / "results.csv")
    for name in ("mean", model.dimensions[0]):
        rows = results[
            (results["scheme"] == quality["scheme"]) & (results["dimension"] == name)
            & (results["features"] == "mel") & (results["metric"] == "r2_pooled")
            & (results["subset"] == "all")
        ]  # fmt: skip
        known = quality["mean"] if name == "mean" else quality["dimensions"][name]
        assert known["r2"] == pytest.approx(rows["value"].iloc[0], abs=1e-4)
    worst = float(np.abs(found - expected).max())
    record("wheel", "scored outside of the repository", files=len(files), largest_difference=worst)


def invoke(monkeypatch: pytest.MonkeyPatch, finished: Finished, *arguments: str | Path) -> str:
    """The same command in this process; errors are raised."""
    monkeypatch.setenv("PIANOEVAL_CACHE", str(finished.cache))
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_a_symbolic_model_wants_the_score(
    installed: Installed, finished: Finished, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_exported(models / "symbolic")
    x, clips = model.read(CorpusPaths("studio", finished.workspace))
    table = clips_of(finished).set_index("clip")
    clip = clips[0]
    root = CorpusPaths("studio", finished.workspace).root
    sheet = root / str(table.loc[clip, "score_path"])
    arguments = [midi_file(finished, clip), "--model", models / "symbolic"]
    here = partial(invoke, monkeypatch, finished)
    told = json.loads(here("score", *arguments, "--score-midi", sheet, "--json"))
    expected = model.predict(x[:1])
    np.testing.assert_allclose(predictions(told, model.dimensions), expected, rtol=0, atol=1e-6)
    without = json.loads(here("score", *arguments, "--json"))
    assert any("no score" in note for note in without["files"][0]["notes"])
    assert np.abs(predictions(without, model.dimensions) - expected).max() > 1e-6
    tone = write_tone(installed.home / "tone.wav")
    with pytest.raises(BadInputError, match="the model reads MIDI"):
        here("score", tone, "--model", models / "symbolic")


def test_a_recording_of_something_else_is_said_to_be_one(
    installed: Installed, finished: Finished, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise at full scale, to a model of synthesised pianos; and without tinysoundfont."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100 * 40)
    soundfile.write(installed.home / "noise.wav", noise, 44_100)
    absent = "import sys; sys.modules['tinysoundfont._tinysoundfont'] = None; " + _MAIN
    arguments = ["score", "noise.wav", "--model", models / "mel", "--workers", "1"]
    done = installed.run(*arguments, "--csv", "--abstain", cache=finished.cache, code=absent)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["inside"] for row in rows} == {"False"}
    assert {row["prediction"] for row in rows} == {""}
    for words in ("unlike every training clip", "nobody has checked", "40.0 s long"):
        assert words in rows[0]["notes"]
    here = partial(invoke, monkeypatch, finished)
    noise_file = installed.home / "noise.wav"
    shown = here("score", noise_file, "--model", models / "mel")
    assert "✗" in shown
    assert "Not for judging people" in shown
    midi = midi_file(finished, clips_of(finished)["clip"].iloc[0])
    monkeypatch.setitem(sys.modules, "tinysoundfont._tinysoundfont", None)
    _bank.cache_clear()
    with pytest.raises(MissingAssetError, match="pip install --no-deps tinysoundfont"):
        here("score", midi, "--model", models / "mel")


@pytest.mark.skipif(not FULL, reason="the thorough version: make faults")
def test_pip_installs_the_wheel(installed: Installed, tmp_path: Path) -> None:
    """A new environment that borrows the dependencies of this one."""
    made = tmp_path / "venv"
    venv.create(made, with_pip=True)
    pip = [made / "bin" / "pip", "install", "--quiet", "--no-deps", "--no-index", installed.wheel]
    # Where it can see this environment's pianoeval, pip would find the wheel installed already.
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PIANOEVAL_CACHE")}
    subprocess.run(list(map(str, pip)), check=True, env=kept)
    [site] = made.glob("lib/python*/site-packages")
    borrowed = next(p for p in sys.path if p.endswith("site-packages"))
    (site / "borrowed.pth").write_text(borrowed + "\n", encoding="utf-8")
    write_tone(tmp_path / "tone.wav")
    done = subprocess.run(
        [str(made / "bin" / "pianoeval"), "embed", "tone.wav", "--encoder", "mel",
         "--out", "e.zarr"],
        cwd=tmp_path, env=kept | {"XDG_CACHE_HOME": str(tmp_path / "xdg")}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ItemCache(tmp_path / "xdg" / "pianoeval" / "items").root.is_dir()
    assert RaggedStore(tmp_path / "e.zarr").clips == ["tone.wav"]
