"""Audio from a store, in parts: the samples of the whole, verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr

from pianoeval.cache import Item
from pianoeval.encoders import stream
from pianoeval.encoders.stream import open_audio
from pianoeval.errors import CorruptDataError
from pianoeval.store import RaggedStore, write_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RaggedStore:
    monkeypatch.setattr(stream, "PART", 1000)
    samples = np.random.default_rng(0).integers(-9000, 9000, (12_345, 1, 1)).astype(np.int16)
    item = Item({"frames": samples, "level": np.zeros(3, np.float32)}, {}, "")
    write_store(
        tmp_path / "a", [("clip", "k", item)], attrs={"sample_rate_hz": 44_100}, quarantined={}
    )
    return RaggedStore(tmp_path / "a")


@pytest.mark.parametrize("rate_hz", [44_100, 24_000, 48_000])
def test_a_store_is_read_and_resampled_in_parts(store: RaggedStore, rate_hz: int) -> None:
    audio = open_audio(store, "clip", rate_hz)
    parts = list(audio.parts)
    assert len(parts) >= 13
    whole = store.frames("clip")[:, 0, 0].astype(np.float32) / np.float32(32768)
    want = soxr.resample(whole, 44_100, rate_hz, "VHQ") if rate_hz != 44_100 else whole
    found = np.concatenate(parts)
    if found.dtype == np.int16:
        found = found.astype(np.float32) / np.float32(32768)
    np.testing.assert_array_equal(found, want)
    assert audio.n_samples == len(want)


def test_damage_is_raised_at_the_end(store: RaggedStore) -> None:
    shard = next(p for p in (store.path / "frames" / "c").rglob("*") if p.is_file())
    data = bytearray(shard.read_bytes())
    position = data.index(store.frames("clip")[:50].tobytes())
    data[position] ^= 1
    shard.write_bytes(data)
    parts = iter(open_audio(RaggedStore(store.path), "clip", 24_000).parts)
    next(parts)
    with pytest.raises(CorruptDataError, match="clip 'clip' differs"):
        list(parts)
