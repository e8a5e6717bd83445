"""Pianoteq as an engine, against a program that behaves like it, well or badly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from fake_pianoteq import OPTIONS, calls, install
from numpy.typing import NDArray

from pianoeval.audio import pianoteq, pianoteq_program
from pianoeval.audio.instruments import check_instrument, render_identity
from pianoeval.audio.pianoteq_program import PianoteqError
from pianoeval.audio.render import RenderJob, render_item, render_performance
from pianoeval.errors import BadInputError, ConfigError, MissingAssetError
from pianoeval.midi.io import Performance, write_midi
from pianoeval.params import InstrumentParams, MidiLimits, RenderParams

PRESET = "K2 Basic"
PIANO = InstrumentParams(engine="pianoteq", preset=PRESET)
F4 = NDArray[np.float32]


def tune(first_s: float = 2.0) -> Performance:
    notes = [(first_s + 0.5 * i, first_s + 0.5 * i + 0.4, 60 + 4 * i, 90 - 9 * i) for i in range(3)]
    return Performance.from_notes(notes, [(0.0, 30), (first_s, 0)])


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a Pianoteq that behaves as told."""

    def make(name: str = "bin", **how: Any) -> Path:
        path = install(tmp_path / name, **how)
        monkeypatch.setenv("PIANOTEQ", str(path))
        return path

    return make


def expected(performance: Performance, render: RenderParams, n: int) -> F4:
    """What the fake plays, from the formula: tones without dampers, 0.1 s before the first."""
    out = np.zeros(n)
    start = float(performance.onset_s[0]) - render.lead_s
    for on, off, key, velocity in zip(
        performance.onset_s, performance.offset_s, performance.pitch_midi, performance.velocity,
        strict=True,
    ):  # fmt: skip
        begin, length = round((on - start) * 44_100), round((off - on) * 44_100)
        t = np.arange(min(length, n - begin)) / 44_100
        tone = np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12) * t) * np.exp(-3 * t)
        out[begin : begin + len(t)] += 0.05 * (velocity / 127) ** 2 * tone
    return out.astype(np.float32)


@pytest.mark.parametrize("delay_s", [0.0, 0.13, -0.4], ids=["prompt", "late", "trimmed"])
def test_plays_what_the_program_plays_from_lead_s_before_the_first_note(
    program: Any, rules: RenderParams, delay_s: float
) -> None:
    program(delay_s=delay_s)
    audio = render_performance(tune(), PIANO, rules)
    wanted = expected(tune(), rules, len(audio))
    loud = np.abs(wanted).max()
    # A tick of MIDI is 0.5 ms, and an onset is found to about as much.
    shifts = range(-60, 61)
    apart = [np.abs(np.roll(audio, s) - wanted)[200:-2000].max() for s in shifts]
    assert min(apart) < 0.12 * loud
    assert abs(shifts[int(np.argmin(apart))]) <= 45
    tail_s = len(audio) / 44_100 - (rules.lead_s + 1.4)
    assert 0.0 < tail_s <= rules.max_tail_s


def test_dynamics_survive_and_gain_is_fixed(program: Any, rules: RenderParams) -> None:
    program()
    loud = render_performance(tune(), PIANO, rules)
    notes = [(2.0, 2.4, 60, 64)]
    soft = render_performance(Performance.from_notes(notes), PIANO, rules)
    half = render_performance(tune(), PIANO.model_copy(update={"gain_db": -6.0206}), rules)
    assert np.abs(soft).max() == pytest.approx(
        np.abs(loud[:22_000]).max() * (64 / 90) ** 2, rel=0.02
    )
    np.testing.assert_allclose(half, loud / 2, atol=1e-5)


def test_the_command_line(program: Any, rules: RenderParams) -> None:
    path = program()
    render_performance(tune(), PIANO, rules)
    render_performance(tune(), PIANO, rules)
    rendered = [c for c in calls(path) if "--wav" in c]
    assert len(rendered) == 3  # the probe once, then the clip twice
    for command in rendered:
        assert "--normalize" not in command
        assert {"--headless", "--quiet", "--mono"} <= set(command)
        for name, value in (("--preset", PRESET), ("--rate", "44100"), ("--bit-depth", "24")):
            assert command[command.index(name) + 1] == value


def test_options_that_an_older_version_lacks_are_left_out(
    program: Any, rules: RenderParams
) -> None:
    kept = [o for o in OPTIONS if o.split()[0] not in ("--mono", "--bit-depth", "--dither")]
    full = render_performance(tune(), PIANO, rules) if program() else None
    path = program("old", options=kept)
    audio = render_performance(tune(), PIANO, rules)
    assert not {"--mono", "--bit-depth", "--dither"} & {w for c in calls(path) for w in c}
    np.testing.assert_allclose(audio, full, atol=2.0**-15)


def test_a_program_too_old_is_refused(program: Any) -> None:
    program(options=[o for o in OPTIONS if not o.startswith("--rate")])
    with pytest.raises(PianoteqError, match="does not name --rate"):
        pianoteq_program.program()


def test_without_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PIANOTEQ", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pianoteq_program.find_program() is None
    assert render_identity(PIANO)["backend"]["pianoteq"] == "absent"  # recordings need none
    with pytest.raises(MissingAssetError, match="not installed"):
        check_instrument(PIANO)
    monkeypatch.setenv("PIANOTEQ", str(tmp_path / "nowhere"))
    with pytest.raises(MissingAssetError, match="not a program"):
        check_instrument(PIANO)


def test_a_preset_that_is_not_there(program: Any) -> None:
    program()
    with pytest.raises(ConfigError, match="no preset 'Steinway Model D'") as caught:
        check_instrument(InstrumentParams(engine="pianoteq", preset="Steinway Model D"))
    assert (caught.value.allowed or "").startswith("HB Steinway Model D")


def test_the_keys_that_a_demo_mutes(program: Any) -> None:
    program(muted=[54, 56, 58, 66])
    with pytest.raises(MissingAssetError, match=r"mutes 4 keys, as a demo does: 54, 56, 58, 66"):
        check_instrument(PIANO)


def test_a_compass_that_ends_is_no_demo(program: Any, rules: RenderParams) -> None:
    program(muted=[*range(21, 29), *range(103, 109)])
    assert pianoteq.voice(PRESET).silent_keys == {*range(21, 29), *range(103, 109)}
    render_performance(tune(), PIANO, rules)
    low = Performance.from_notes([(0.0, 0.5, 25, 90)])
    with pytest.raises(BadInputError, match="key 25 is silent"):
        render_performance(low, PIANO, rules)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"behave": "crash"}, "exit status 1.*segmentation"),
        ({"behave": "nothing"}, "wrote no audio"),
        ({"behave": "silence"}, "silence"),
        ({"behave": "text"}, "no readable audio"),
        ({"behave": "short"}, "ends before the last note"),
        ({"behave": "hang"}, "no result in 1 s"),
    ],
    ids=lambda value: value["behave"] if isinstance(value, dict) else "",
)
def test_a_clip_that_fails_is_refused_with_a_reason(
    program: Any, rules: RenderParams, monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any], message: str,
) -> None:  # fmt: skip
    program(**how)
    check_instrument(PIANO)
    monkeypatch.setattr(pianoteq, "_START_S", 1.0 if how["behave"] == "hang" else 60.0)
    monkeypatch.setattr(pianoteq, "_PACE", 0.0)
    with pytest.raises(BadInputError, match=message):
        render_performance(tune(), PIANO, rules)


def test_a_program_that_fails_at_once_stops_the_stage(program: Any) -> None:
    program(behave="nothing", only_clips=False)
    with pytest.raises(PianoteqError, match="wrote no audio"):
        check_instrument(PIANO)
    program("fast", rate=48_000)
    with pytest.raises(PianoteqError, match="wrote 48000 Hz"):
        check_instrument(PIANO)


def test_clipping_within_the_program_is_refused(program: Any, rules: RenderParams) -> None:
    program(level=4.0)
    quiet = PIANO.model_copy(update={"gain_db": -40.0})
    with pytest.raises(BadInputError, match="clips within Pianoteq"):
        render_performance(tune(), quiet, rules)


def test_the_key_names_version_options_and_preset(program: Any) -> None:
    program()
    first = render_identity(PIANO)
    assert first["instrument"] == {"engine": "pianoteq", "preset": PRESET, "gain_db": 0.0}
    assert first["backend"]["pianoteq"] == "Pianoteq version 8.4.1 (fake)"
    program("new", version="Pianoteq version 9.0.0 (fake)")
    assert render_identity(PIANO) != first
    program("plain", options=[o for o in OPTIONS if o != "--mono"])
    assert render_identity(PIANO)["backend"]["options"] != first["backend"]["options"]
    program("mute", version="", options=[o for o in OPTIONS if o != "--version"])
    assert render_identity(PIANO)["backend"]["pianoteq"].startswith("sha256:")


def test_an_item_of_a_file_with_a_hostile_name(
    program: Any, rules: RenderParams, tmp_path: Path
) -> None:
    path = program()
    midi = tmp_path / "a b #1 --wav é.mid"
    write_midi(tune(), midi)
    job = RenderJob(midi, False, 0.0, 3.5, PIANO, rules, MidiLimits())
    arrays, meta = render_item(job)
    assert meta["start_s"] == pytest.approx(2.0 - rules.lead_s, abs=0.001)
    assert np.abs(np.asarray(arrays["frames"])).max() > 300
    assert not any("#1" in word for command in calls(path) for word in command)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"engine": "pianoteq"}, "needs 'preset'"),
        ({"engine": "pianoteq", "preset": "x", "font": "timgm6mb"}, "does not read font"),
        ({"engine": "pianoteq", "preset": "x", "uneven_db": 1.0}, "does not read uneven_db"),
        ({}, "needs 'font'"),
        ({"font": "timgm6mb", "preset": "x"}, "does not read preset"),
    ],
)
def test_parameters_of_the_other_engine(block: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        InstrumentParams.model_validate(block)


def test_blocks_are_written_as_before_there_were_engines() -> None:
    font = InstrumentParams(font="timgm6mb", gain_db=-1.0)
    assert list(font.model_dump(mode="json")) == [
        "font", "bank", "program", "gain_db", "velocity_lowpass_cents", "unison_cents",
        "detune_cents", "uneven_db", "decay_db_s", "eq", "seed",
    ]  # fmt: skip
    for one in (font, PIANO):
        assert InstrumentParams.model_validate(one.model_dump(mode="json")) == one
