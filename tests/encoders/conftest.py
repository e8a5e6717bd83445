"""Encoders, loaded once, and signals that need no random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from encoder_cases import RATE_HZ, case_params, load
from numpy.typing import NDArray

from pianoeval.encoders.base import Encoder
from pianoeval.paths import cache_root


@pytest.fixture(scope="session")
def _shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache, but for the assets that have been fetched."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "assets").symlink_to((cache_root() / "assets").absolute())
    return folder


@pytest.fixture(scope="module")
def checkpoint_cache(_shelf: Path) -> Iterator[Path]:
    """Where a module's checkpoints lie; checkpoints of real models are not touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIANOEVAL_CACHE", str(_shelf))
        yield _shelf


@pytest.fixture(scope="session")
def loaded() -> Callable[[str], Encoder]:
    """An encoder with 2 s chunks by kind, loaded at most once."""
    known: dict[str, Encoder] = {}

    def get(kind: str) -> Encoder:
        if kind not in known:
            known[kind] = load(case_params(kind))
        return known[kind]

    return get


@pytest.fixture(scope="session")
def notes() -> NDArray[np.float32]:
    """Three seconds of six decaying harmonic tones, peak 0.18."""
    t = np.arange(3 * RATE_HZ) / RATE_HZ
    y = np.zeros(len(t))
    for onset, midi, amplitude in (
        (0.1, 48, 0.3), (0.1, 64, 0.2), (0.6, 67, 0.25), (1.1, 72, 0.3), (1.6, 60, 0.15),
        (2.1, 76, 0.3),
    ):  # fmt: skip
        after = np.clip(t - onset, 0, None)
        hz = 440 * 2 ** ((midi - 69) / 12)
        envelope = (t >= onset) * np.exp(-2 * after) * (1 - np.exp(-after / 0.003))
        for harmonic in range(1, 8):
            tone = np.sin(2 * np.pi * hz * harmonic * after)
            y += amplitude * envelope * tone / harmonic**1.3
    return (0.3 * y).astype(np.float32)
