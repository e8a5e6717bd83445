"""Instruments for the audio tests; they need the fonts that ``make assets`` fetches."""

from __future__ import annotations

import pytest

from pianoeval.audio.instruments import font_path
from pianoeval.errors import MissingAssetError
from pianoeval.params import InstrumentParams, RenderParams

GRAND = InstrumentParams(font="fluidr3-pianos", gain_db=-3.4, velocity_lowpass_cents=5400)
UPRIGHT = InstrumentParams(
    font="generaluser-gs",
    program=1,
    gain_db=-3.0,
    velocity_lowpass_cents=5400,
    unison_cents=[-1.2, 1.5],
    detune_cents=2.0,
    decay_db_s=7.0,
    eq=[("highpass", 90, 0, 0.7), ("peak", 850, 7, 1.2), ("highshelf", 3800, -10, 0.7)],
    seed=4,
)


def _fetched(instrument: InstrumentParams) -> InstrumentParams:
    try:
        font_path(instrument)
    except MissingAssetError as error:
        pytest.skip(f"run 'make assets' first: {error}")
    return instrument


@pytest.fixture(scope="session")
def grand() -> InstrumentParams:
    return _fetched(GRAND)


@pytest.fixture(scope="session")
def upright() -> InstrumentParams:
    return _fetched(UPRIGHT)


@pytest.fixture
def rules() -> RenderParams:
    return RenderParams()
