"""Fixtures that several areas share. External corpora are optional: their tests skip."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pianoeval.assets import ASSETS, asset_path
from pianoeval.corpora import percepiano
from pianoeval.errors import MissingAssetError
from pianoeval.midi.io import Performance
from pianoeval.params import CorpusParams, MidiLimits

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _asset_cache() -> None:
    """Tests change directory; weights and fonts stay where ``make assets`` put them."""
    os.environ.setdefault("PIANOEVAL_CACHE", str(REPOSITORY / "cache"))


@pytest.fixture(scope="session")
def percepiano_dir() -> Path:
    """A checkout of PercePiano, or skip."""
    found = os.environ.get("PIANOEVAL_TEST_PERCEPIANO")
    folder = Path(found) if found else REPOSITORY.parent / "shared" / "datasets" / "PercePiano"
    if not folder.is_dir():
        pytest.skip("PercePiano is not here: set PIANOEVAL_TEST_PERCEPIANO to a checkout of it")
    return folder


@pytest.fixture(scope="session")
def percepiano_source(percepiano_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PercePiano as ingested, for all areas to read; none of its clips is quarantined."""
    out = tmp_path_factory.mktemp("percepiano") / "source"
    params = CorpusParams(loader="percepiano")
    assert percepiano.ingest(params, "percepiano", percepiano_dir, out, MidiLimits()) == {}
    return out


@pytest.fixture
def asset(request: pytest.FixtureRequest) -> Path:
    """The asset named by ``indirect`` parametrisation, or skip."""
    assert request.param in ASSETS
    try:
        return asset_path(request.param)
    except MissingAssetError as error:
        pytest.skip(f"run 'make assets' first: {error}")


@pytest.fixture(scope="session")
def instrument_assets() -> None:
    """Skip where the grand cannot be rendered."""
    try:
        asset_path("fluidr3-pianos")
    except MissingAssetError as error:
        pytest.skip(f"run 'make assets' first: {error}")


@pytest.fixture
def scale() -> Performance:
    """Two bars of C major, legato, with one pedal change."""
    pitches = [60, 62, 64, 65, 67, 69, 71, 72]
    notes = [(0.5 * i, 0.5 * i + 0.48, pitch, 60 + i) for i, pitch in enumerate(pitches)]
    return Performance.from_notes(notes, [(0.0, 0), (1.0, 100), (1.9, 0)])


@pytest.fixture
def random_state() -> np.random.Generator:
    return np.random.default_rng(0)
