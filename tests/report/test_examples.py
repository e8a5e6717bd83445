"""Clips to see and hear: what goes into the page, and what stays out of it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from markupsafe import Markup

from pianoeval.cache import Item
from pianoeval.corpora.manifest import read_manifest, write_manifest
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.media import MAX_S, encode_mp3, gather_examples, roll_data, write_examples
from pianoeval.midi.io import Performance, write_midi
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.report.examples import example_section, load_examples
from pianoeval.report.roll import piano_roll, pitch_name
from pianoeval.store import write_store
from tests.evaluate import evaluation_cases as cases

RATE_HZ = 44_100
NOTES = [(2.0, 2.5, 60, 30), (2.5, 3.0, 64, 64), (3.0, 3.5, 67, 100)]
PEDAL = [(1.0, 127), (2.75, 0), (3.0, 127)]


def tone(duration_s: float, frequency_hz: float = 440.0) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return np.round(8000 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.int16)


def decoded(audio: str) -> tuple[np.ndarray, int]:
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(audio)))
    return samples, rate_hz


@pytest.fixture
def workspace(tmp_path: Path) -> tuple[CorpusPaths, Params]:
    """Two clips of a corpus: one may be passed on, the other may not."""
    paths = CorpusPaths("toy", tmp_path)
    manifest = cases.manifest(1, 1, 3).query("not is_score_render").reset_index(drop=True)
    manifest["redistributable"] = [True, False]
    manifest["sha256"] = ["a" * 64, "b" * 64]
    (paths.root / "source" / "midi").mkdir(parents=True)
    write_midi(Performance.from_notes(NOTES, PEDAL), paths.root / "source" / "midi" / "x.mid")
    paths.manifest.parent.mkdir(parents=True)
    write_manifest(manifest, paths.manifest)
    arrays = {
        "frames": tone(2.0).reshape(-1, 1, 1), "level": np.array([-20, -20, -3], np.float32),
    }  # fmt: skip
    items = [(clip, "key", Item(arrays, {}, "digest")) for clip in manifest["clip"]]
    write_store(paths.audio("piano"), items, attrs={"sample_rate_hz": RATE_HZ}, quarantined={})
    entries = [
        {"clip": clip, "kind": kind, "model": "symbolic/ridge", "rmse": 0.1,
         "rated": {"timing": 0.4, "pedal": 0.5}, "predicted": {"timing": 0.5, "pedal": 0.8}}
        for clip, kind in zip(manifest["clip"], ("worst", "best"), strict=True)
    ]  # fmt: skip
    paths.results.mkdir(parents=True)
    text = json.dumps({"examples": {"segment": [], "movement": entries}})
    (paths.results / "diagnostics.json").write_text(text, encoding="utf-8")
    return paths, cases.params(report={"instrument": "piano", "audio": "redistributable"})


def test_mp3_plays_what_was_rendered() -> None:
    samples, rate_hz = decoded(encode_mp3(tone(2.0), RATE_HZ))
    assert len(samples) / rate_hz == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * rate_hz / len(samples) == pytest.approx(440.0, abs=1.0)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(8000 / 32768 / np.sqrt(2), rel=0.1)


def test_a_long_clip_is_cut() -> None:
    samples, rate_hz = decoded(encode_mp3(tone(MAX_S + 5), RATE_HZ))
    assert len(samples) / rate_hz == pytest.approx(MAX_S, abs=0.1)
    notes = [(0.0, MAX_S + 9, 60, 64), (MAX_S + 1, MAX_S + 2, 62, 64)]
    assert roll_data(Performance.from_notes(notes))["notes"] == [[0, round(MAX_S * 1000), 60, 64]]


def test_notes_stand_where_they_sound() -> None:
    """The rendering drops the silence before the first note; the roll must follow."""
    drawn = roll_data(Performance.from_notes(NOTES, PEDAL), start_s=1.9)
    assert [note[0] for note in drawn["notes"]] == [100, 600, 1100]
    assert drawn["pedal"] == [[0, 127], [850, 0], [1100, 127]], "pressed before the start"


def test_only_what_may_be_passed_on_sounds(workspace: tuple[CorpusPaths, Params]) -> None:
    paths, params = workspace
    first, second = gather_examples(paths, params)["clips"]
    assert first["audio"] is not None
    assert second["audio"] is None
    assert "licence" in second["silence"]
    assert second["midi"] == first["midi"], "the notes are drawn all the same"


def test_a_recording_longer_than_its_midi_is_shown_whole(
    workspace: tuple[CorpusPaths, Params],
) -> None:
    """Else the playhead would reach the end of the roll while the sound goes on."""
    paths, params = workspace
    manifest = read_manifest(paths.manifest)
    manifest["audio_path"], manifest["end_s"] = "source/audio/x.wav", 20.0
    write_manifest(manifest, paths.manifest)
    clip = gather_examples(paths, params)["clips"][0]
    assert clip["duration_s"] == clip["shown_s"] == 20.0
    assert clip["midi"]["notes"][0][0] == 2000


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"examples": []}', '{"examples": {"movement": [{}]}}']
)
def test_damaged_diagnostics_name_the_stage(
    workspace: tuple[CorpusPaths, Params], text: str
) -> None:
    paths, params = workspace
    (paths.results / "diagnostics.json").write_text(text)
    with pytest.raises(CorruptDataError, match="no examples to be read") as error:
        gather_examples(paths, params)
    assert error.value.next_step == "dvc repro evaluate@toy"


@pytest.mark.parametrize(("choice", "sounding"), [("always", 2), ("never", 0)])
def test_sound_can_be_switched(
    workspace: tuple[CorpusPaths, Params], choice: str, sounding: int
) -> None:
    paths, _ = workspace
    params = cases.params(report={"instrument": "piano", "audio": choice})
    clips = gather_examples(paths, params)["clips"]
    assert sum(clip["audio"] is not None for clip in clips) == sounding


def test_the_headline_scheme_is_shown(workspace: tuple[CorpusPaths, Params]) -> None:
    paths, params = workspace
    write_examples(paths, params)
    before = paths.examples.read_bytes()
    write_examples(paths, params)
    assert paths.examples.read_bytes() == before
    section = example_section(load_examples(paths), "c1")
    assert section is not None
    assert section.scheme == "movement"
    assert [len(section.worst), len(section.best)] == [1, 1]
    assert section.model == "ridge on symbolic features"
    assert section.worst[0].audio is not None
    assert section.worst[0].audio.startswith("data:audio/mpeg;base64,")


def test_sound_that_must_stay_here_is_named(workspace: tuple[CorpusPaths, Params]) -> None:
    paths, params = workspace
    section = example_section(gather_examples(paths, params), "c1")
    assert section is not None
    assert section.restricted == []
    section = example_section(gather_examples(paths, cases.params()), "c1")
    assert section is not None
    assert section.restricted == ["m0_s0_p2_t0"], "all sound is on the page by default"


def test_missing_and_damaged_files_are_named(workspace: tuple[CorpusPaths, Params]) -> None:
    paths, params = workspace
    assert load_examples(paths) is None
    paths.examples.parent.mkdir(parents=True, exist_ok=True)
    paths.examples.write_text("{", encoding="utf-8")
    with pytest.raises(CorruptDataError, match="examples@toy"):
        load_examples(paths)
    (paths.results / "diagnostics.json").unlink()
    with pytest.raises(MissingAssetError, match="evaluate@toy"):
        gather_examples(paths, params)


def test_an_unknown_clip_is_refused(workspace: tuple[CorpusPaths, Params]) -> None:
    paths, params = workspace
    path = paths.results / "diagnostics.json"
    path.write_text(path.read_text(encoding="utf-8").replace("m0_s0_p1_t0", "other"), "utf-8")
    with pytest.raises(CorruptDataError, match="other"):
        gather_examples(paths, params)


def entry(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "clip": "a", "kind": "best", "model": "mel/ridge", "rmse": 0.2, "segment": "s",
        "player": None, "duration_s": 2.0, "shown_s": 2.0, "midi": None, "audio": None,
        "redistributable": False, "silence": "none", "rated": {"x": 0.1}, "predicted": {"x": 0.7},
    }  # fmt: skip
    return base | changes


def test_a_recording_without_midi_has_no_roll() -> None:
    section = example_section(
        {"scheme": "content", "instrument": "grand", "clips": [entry()]}, "c1"
    )
    assert section is not None
    assert section.best[0].roll is None
    assert section.best[0].silence == "none"


def test_hostile_names_are_text() -> None:
    found = {"scheme": "content", "instrument": "grand", "clips": [entry(clip="<script>x")]}
    section = example_section(found, "c1")
    assert section is not None
    assert "<script" not in section.best[0].dots
    assert not isinstance(section.best[0].heading, Markup), "escaped by the template"


def test_no_clips_no_section() -> None:
    assert example_section(None, "c1") is None
    assert example_section({"scheme": None, "instrument": "grand", "clips": []}, "c1") is None


def test_the_roll_draws_every_note_and_the_pedal() -> None:
    drawn = roll_data(Performance.from_notes(NOTES, PEDAL), start_s=1.9)
    roll = str(piano_roll(drawn, 1.6, "r", "a clip").render())
    assert roll.count("v2.6h-") == 3
    assert {f"v{i}" for i in (0, 2, 4)} == {v for v in ("v0", "v1", "v2", "v3", "v4")
                                            if f'class="note {v}"' in roll}  # fmt: skip
    assert roll.count('class="pedal"') == 2
    assert "C4 to G4" in roll


@pytest.mark.parametrize(("pitch", "name"), [(21, "A0"), (60, "C4"), (61, "C♯4"), (108, "C8")])
def test_pitch_names(pitch: int, name: str) -> None:
    assert pitch_name(pitch) == name
