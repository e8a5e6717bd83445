"""Files on a command line: what is a corpus and what a file, what is written, what is said."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from pianoeval.builder import BuildReport, ItemJob
from pianoeval.cache import Item
from pianoeval.cli import app
from pianoeval.encoders.registry import encoder_spec
from pianoeval.errors import BadInputError, ConfigError, MissingAssetError
from pianoeval.judging.context import notes_of
from pianoeval.judging.embedding import Embedded, write_embeddings
from pianoeval.judging.files import Recording, find_recordings
from pianoeval.midi.io import Performance, write_midi
from pianoeval.params import MidiLimits
from pianoeval.params_file import load_settings
from pianoeval.store import RaggedStore

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``pianoeval`` in an empty folder with an empty cache; its errors are raised."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    return call


def write_wav(path: Path, seconds: float = 0.5) -> Path:
    soundfile.write(path, np.full(round(8000 * seconds), 0.1), 8000)
    return path


def test_only_out_tells_files_from_a_corpus(run: Run, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    with pytest.raises(ConfigError, match=r"files without --out"):
        run("embed", "a.wav", "--encoder", "mel")
    with pytest.raises(ConfigError, match=r"files without --out"):
        run("embed", "studio", "percepiano")
    with pytest.raises(ConfigError, match=r"--layers without --out"):
        run("embed", "studio", "--layers", "4")
    with pytest.raises(ConfigError, match=r"params.yaml: no such file"):
        run("embed", "studio")  # a corpus, and no workspace
    (tmp_path / "studio").write_bytes(b"a file of that name changes nothing")
    with pytest.raises(ConfigError, match=r"params.yaml: no such file"):
        run("embed", "studio")
    with pytest.raises(BadInputError, match=r"studio: '' is no recording"):
        run("embed", "studio", "--encoder", "mel", "--out", "e.zarr")
    with pytest.raises(ConfigError, match=r"files are embedded on this machine"):
        run("embed", "a.wav", "--encoder", "mel", "--out", "e.zarr", "--cluster", "slurm")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "e.zarr"], r"--encoder .*: 0 names"),
        (["--encoder", "nosuch", "--out", "e.zarr"], r"'nosuch' is not known .*transkun"),
        (["--encoder", "mel", "--encoder", "transkun", "--out", "e.zarr"], "2 names"),
        (["--encoder", "mel", "--instrument", "kazoo", "--out", "e.zarr"], "'kazoo' is not known"),
        (["--encoder", "mel", "--out", "e.npz"], r"the suffix names no format .*\.zarr"),
        (["--encoder", "mel", "--out", "mine.zarr"], "something else lies there"),
    ],
)
def test_options_that_do_not_fit(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    write_wav(tmp_path / "a.wav")
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("all of it")
    with pytest.raises(ConfigError, match=said):
        run("embed", "a.wav", *arguments)
    assert (tmp_path / "mine.zarr" / "thesis.txt").read_text() == "all of it"


def test_an_embedding_is_written_and_replaced(run: Run, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    write_wav(tmp_path / "short.wav", 0.001)  # decoded, and too short for a window
    arguments = ("--encoder", "mel", "--out", "e.zarr", "--workers", "1", "--json")
    told = json.loads(run("embed", "a.wav", "short.wav", *arguments))
    assert told["files"] == ["a.wav"]
    assert list(told["failed"]) == ["short.wav"]
    assert RaggedStore(tmp_path / "e.zarr").attrs["layers"] == told["layers"]
    again = json.loads(run("embed", "a.wav", *arguments))
    assert (again["computed"], again["reused"]) == (0, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "cache", "e.zarr", "short.wav"]


@pytest.mark.parametrize(("layers", "kept"), [("all", [0, 1]), ("2", [1]), ("1..2", [0, 1])])
def test_layers_are_chosen_when_the_store_is_written(
    tmp_path: Path, layers: str, kept: list[int]
) -> None:
    params, _ = load_settings()
    spec = encoder_spec(params.encoders["transkun_random"], "transkun_random")
    frames = np.random.default_rng(0).normal(size=(5, 2, 4)).astype(np.float16)
    item = Item({"frames": frames, "level": np.zeros(3, np.float32)}, {}, "digest")
    job = ItemJob("a.wav", "key", None, 1.0)
    found = Embedded(spec, {"layers": ["1", "2"]}, [job], {}, BuildReport(), lambda job: item)
    names = write_embeddings(found, layers, tmp_path / "e.zarr")
    store = RaggedStore(tmp_path / "e.zarr")
    assert store.attrs["layers"] == names == [spec.layer_names[i] for i in kept]
    assert np.array_equal(store.frames("a.wav"), frames[:, kept])


def test_bad_files_are_named_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "a.wav")
    write_midi(Performance.from_notes([(0.0, 1.5, 60, 64)]), tmp_path / "m.MID")
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    names = [
        "a.wav",
        "nosuch.wav",
        "m.MID",
        "a.wav",
        "broken.mid",
        "notes.txt",
        "folder",
        "b\udcff.wav",
    ]
    found, failed = find_recordings(names, MidiLimits())
    assert [(one.name, one.kind) for one in found] == [("a.wav", "audio"), ("m.MID", "midi")]
    assert [one.duration_s for one in found] == pytest.approx([0.5, 1.5], abs=1e-3)
    assert list(failed) == ["nosuch.wav", "broken.mid", "notes.txt", "folder", r"b\udcff.wav"]
    with pytest.raises(BadInputError, match=r"no recording can be read\n  nosuch\.wav: no such"):
        find_recordings(["nosuch.wav"], MidiLimits())


def test_a_model_that_is_not_there(run: Run, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    with pytest.raises(MissingAssetError, match=r"no model.*\n.*pianoeval export CORPUS"):
        run("score", "a.wav", "--model", "nosuch")
    with pytest.raises(ConfigError, match="one of the two"):
        run("score", "a.wav", "--model", ".", "--json", "--csv")


CONFIG: dict[str, Any] = {
    "inputs": {"source": "mel", "instruments": ["grand"]},
    "corpus": {"recorded": 0, "clips": 10},
    "training": {"clip_s": {"shortest": 4.0, "longest": 9.0}, "distance": {"largest": 2.0}},
    "dimensions": [{"name": "timing", "label_range": [0.2, 0.8]}],
}


def noted(
    kind: Any = "midi", seconds: float = 5.0, value: float = 0.5, apart: float = 1.0, **changes: Any
) -> list[str]:
    config = copy.deepcopy(CONFIG)
    for block, values in changes.items():
        config[block] |= values
    one = Recording("f", Path("f"), kind, seconds)
    return notes_of(config, one, np.array([value]), apart, has_score=False).texts


def test_what_is_said_of_a_file() -> None:
    assert noted() == []
    assert noted(seconds=4.0) == noted(seconds=9.0) == noted(value=0.2) == noted(apart=2.0) == []
    [text] = noted(apart=5.0)
    assert "2.5 times as far" in text
    [text] = noted(value=0.81)
    assert text == "outside the range of the labels: timing"
    [text] = noted(seconds=9.1)
    assert text.startswith("9.1 s long; training clips had 4.0 to 9.0 s")
    [text] = noted("audio")
    assert text.startswith("a recording, but the model was trained on audio synthesised from MIDI")
    assert noted("audio", corpus={"recorded": 10}) == []
    assert noted("audio", corpus={"recorded": 4}) == noted("midi", corpus={"recorded": 4}) == []
    [text] = noted("midi", corpus={"recorded": 10})
    assert "trained on recordings alone" in text
    symbolic = {"source": "symbolic", "columns": ["tempo", "rel_timing"]}
    [text] = noted(inputs=symbolic)
    assert text.startswith("no score: 1 of 2 features")
    assert noted(inputs={"source": "symbolic", "columns": ["tempo"]}) == []


def test_a_file_that_may_not_be_read_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write_wav(tmp_path / "good.wav")
    (tmp_path / "closed.mid").write_bytes(b"MThd")
    opened = Path.open

    def refused(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "closed.mid":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refused)
    names = [str(tmp_path / "closed.mid"), str(good), "x" * 300 + ".wav"]
    found, failed = find_recordings(names, load_settings()[0].midi)
    assert [one.name for one in found] == [str(good)]
    assert list(failed.values()) == [
        "cannot be read (Permission denied)", "cannot be read (File name too long)"
    ]  # fmt: skip


def test_an_unknown_layer_is_refused_before_anything_is_encoded(run: Run, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    with pytest.raises(ConfigError, match="--layers 9: unknown layer") as caught:
        run("embed", "a.wav", "--encoder", "mel", "--layers", "9", "--out", "e.zarr")
    assert "params.yaml" not in str(caught.value)
    assert not (tmp_path / "cache").exists()
