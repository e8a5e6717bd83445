"""Fonts that are missing, damaged, or lack the preset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pianoeval.audio.instruments import font_path, render_identity, sample_bank
from pianoeval.audio.sources import SampleSetSource, SoundFontSource, open_source
from pianoeval.errors import MissingAssetError
from pianoeval.params import InstrumentParams


def test_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path))
    with pytest.raises(MissingAssetError, match="pianoeval fetch fluidr3-pianos"):
        sample_bank(InstrumentParams(font="fluidr3-pianos"))


def test_an_unknown_font_lists_the_known_ones() -> None:
    with pytest.raises(MissingAssetError, match=r"unknown asset 'nosuch' .*fluidr3-pianos"):
        render_identity(InstrumentParams(font="nosuch"))


def test_damaged_and_compressed_fonts(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sf2"
    damaged.write_bytes(b"RIFF\x10\0\0\0sfbk" + bytes(64))
    with pytest.raises(MissingAssetError, match="not a readable SoundFont"):
        SoundFontSource(damaged, 0, 0)
    with pytest.raises(MissingAssetError, match=r"\.sf3"):
        open_source(tmp_path / "font.sf3", 0, 0)
    (tmp_path / "samples.zip").write_bytes(b"PK")
    with pytest.raises(MissingAssetError, match="sample set"):
        open_source(tmp_path / "samples.zip", 0, 0)


def test_missing_preset_lists_what_there_is(grand: InstrumentParams) -> None:
    with pytest.raises(MissingAssetError, match="no preset 0:100") as caught:
        SoundFontSource(font_path(grand), 0, 100)
    assert "0:0 Yamaha Grand Piano" in str(caught.value)


def test_samples_do_not_depend_on_the_ones_before(grand: InstrumentParams) -> None:
    source = SoundFontSource(font_path(grand), 0, 0)
    first = source.sample(60, 127, 0.0, 1.0)
    source.sample(36, 127, 30.0, 0.2)
    source.sample(108, 127, -30.0, 0.2)
    np.testing.assert_array_equal(source.sample(60, 127, 0.0, 1.0), first)


@pytest.mark.parametrize("asset", ["iowa-steinway-b"], indirect=True)
def test_sample_set(asset: Path) -> None:
    source = SampleSetSource(asset)
    sound = source.sample(69, 127, 0.0, 1.0)
    assert len(sound) == 44_100
    assert np.abs(sound).max() > 0.01
    raised = source.sample(69, 127, 100.0, 1.0)

    def pitch_hz(x: np.ndarray) -> float:
        magnitude = np.abs(np.fft.rfft(x * np.hanning(len(x)), n=1 << 18))
        return float(np.argmax(magnitude[2400:2900]) + 2400) * 44_100 / (1 << 18)

    assert 1200 * np.log2(pitch_hz(raised) / pitch_hz(sound)) == pytest.approx(100, abs=3)


def test_identity_names_font_and_backend() -> None:
    identity = render_identity(InstrumentParams(font="fluidr3-pianos"))
    assert identity["font_sha256"].startswith("6da99144")
    assert set(identity["backend"]) == {"tinysoundfont", "soxr"}
