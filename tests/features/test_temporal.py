"""Statistics that know order: by hand, against a literal twin, and where nothing varies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pianoeval.cache import Item
from pianoeval.encoders.audiomae.encoder import BANDS
from pianoeval.errors import ConfigError
from pianoeval.features.framestats import ALL_STATS, STATS, Timing, pool_clip, pool_frames
from pianoeval.features.pooling import PooledStore, pool_store
from pianoeval.features.temporal import (
    FLOOR,
    LAGS_S,
    OCTAVES_HZ,
    TEMPORAL,
    averaged,
    frames_a_step,
    pool_temporal,
)
from pianoeval.params import StatName
from pianoeval.store import RaggedStore, write_store

RATE = 20.0


def pooled(x: np.ndarray, stats: Iterable[str] = TEMPORAL, rate: float = RATE) -> dict[str, float]:
    """Statistics of one value over frames (frames,)."""
    names = list(stats)
    frames = np.asarray(x, np.float64)[:, None, None]
    found = pool_temporal(
        lambda size: (frames[i : i + size] for i in range(0, len(frames), size)),
        len(frames), names, rate,
    )  # fmt: skip
    return dict(zip(names, found[0, :, 0].tolist(), strict=True))


# A literal twin ----------------------------------------------------------------------------------


def autocorrelation(x: list[float], lag: int) -> float:
    mean = sum(x) / len(x)
    whole = sum((v - mean) ** 2 for v in x)
    if whole == 0 or lag >= len(x):
        return 0.0
    return sum((x[t] - mean) * (x[t - lag] - mean) for t in range(lag, len(x))) / whole


def literal(x: np.ndarray, rate: float) -> dict[str, float]:
    """Value by value, as the definitions say; at rates of about 20 Hz, whose frames stand alone."""
    values = [float(v) for v in x]
    n, mean = len(values), sum(values) / len(values)
    centred = [v - mean for v in values]
    change = [0.0] + [values[t] - values[t - 1] for t in range(1, n)]
    found = {"delta": (sum(c * c for c in change) / max(n - 1, 1)) ** 0.5}
    time = np.arange(n) / n
    found["slope"] = float(np.polyfit(time, values, 1)[0]) if n > 1 else 0.0
    for i, name in enumerate(("early", "middle", "late")):
        part = centred[n * i // 3 : n * (i + 1) // 3]
        found[name] = sum(part) / len(part) if part else 0.0
    for name, s in LAGS_S.items():
        found[name] = autocorrelation(values, round(s * rate))
    onsets = [max(0.0, c) for c in change]
    lags = range(round(0.25 * rate), round(2.0 * rate) + 1)
    found["pulse"] = max(autocorrelation(onsets, lag) for lag in lags)
    window = round(rate)
    rms = [
        (sum(c * c for c in change[i * window : (i + 1) * window]) / window) ** 0.5
        for i in range(n // window)
    ]
    found["activity"] = float(np.std(rms) / np.mean(rms)) if rms and sum(rms) else 0.0
    spans = max(1, round(n / rate / 16))
    power, weight = np.zeros(32), 0.0
    for i in range(spans):
        part = centred[n * i // spans : n * (i + 1) // spans]
        hann = [np.sin(np.pi * (t + 0.5) / len(part)) ** 2 for t in range(len(part))]
        weight += sum(w * w for w in hann)
        for k in range(1, 32):
            total = sum(
                w * c * np.exp(-2j * np.pi * k / 16 * t / rate)
                for t, (w, c) in enumerate(zip(hann, part, strict=True))
            )
            power[k] += abs(total) ** 2
    scale = weight * sum(c * c for c in centred) / n
    for low, name in zip((1, 2, 4, 8, 16), OCTAVES_HZ, strict=True):
        mean = power[low : 2 * low].mean() / scale if scale else 0.0
        found[name] = float(np.log10(mean + FLOOR))
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 19, 41, 130, 700])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_literal_twin(n: int, seed: int) -> None:
    """Up to 700 steps, which are two blocks; the last of them is no whole second."""
    x = np.random.default_rng([n, seed]).normal(3.0, 1.0, n).cumsum()
    found, expected = pooled(x, rate=21.0), literal(x, 21.0)
    assert set(found) == set(expected) == set(TEMPORAL)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


# What they hear ----------------------------------------------------------------------------------


def test_a_line_by_hand() -> None:
    """0, 1, …, 59 over three seconds."""
    found = pooled(np.arange(60.0))
    assert found["delta"] == pytest.approx(1.0)
    assert found["slope"] == pytest.approx(60.0)
    assert (found["early"], found["middle"], found["late"]) == pytest.approx((-20, 0, 20))


@pytest.mark.parametrize("seconds", [16, 40, 200])
@pytest.mark.parametrize(
    ("hertz", "name"), [(0.07, "mod_62"), (0.37, "mod_250"), (1.1, "mod_1000"), (1.46, "mod_1000")]
)
def test_a_wave_is_heard_in_its_octave(hertz: float, name: str, seconds: int) -> None:
    """Wherever it lies between the frequencies that are looked at."""
    time = np.arange(seconds * RATE) / RATE
    found = pooled(np.sin(2 * np.pi * hertz * time), OCTAVES_HZ)
    assert max(found, key=lambda octave: found[octave]) == name
    far = [
        v for other, v in found.items() if abs(np.log2(OCTAVES_HZ[other] / OCTAVES_HZ[name])) > 1
    ]
    assert max(far) < found[name] - 0.7


def test_white_noise_has_the_power_of_white_noise() -> None:
    found = pooled(np.random.default_rng(4).normal(size=20_000), OCTAVES_HZ)
    assert list(found.values()) == pytest.approx([0.0] * 5, abs=0.12)


def test_a_steady_pulse_is_heard_and_rubato_takes_it_away() -> None:
    """Decaying strokes, two a second, on time and with a tempo that wanders."""
    beats = np.arange(0.1, 19.9, 0.5)
    bent = beats + 0.35 * np.sin(2 * np.pi * beats / 5)

    def strokes(at: np.ndarray) -> np.ndarray:
        time = np.arange(400) / RATE
        since = time[:, None] - at
        return np.where(since >= 0, np.exp(-since / 0.2), 0).max(axis=1)

    steady, free = pooled(strokes(beats)), pooled(strokes(bent))
    assert steady["pulse"] > 0.8
    assert free["pulse"] < steady["pulse"] - 0.3


def test_unequal_seconds_are_active() -> None:
    busy = np.random.default_rng(0).normal(size=400)
    halves = np.where(np.arange(400) < 200, busy, 0.1 * busy)
    assert pooled(busy)["activity"] < 0.3 < 0.7 < pooled(halves)["activity"]


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 90), elements=st.floats(-4, 4, width=16)),
    st.floats(0.5, 8), st.floats(-20, 20),
)  # fmt: skip
def test_units(x: np.ndarray, scale: float, shift: float) -> None:
    """Shares do not know the unit; changes scale with it; nothing knows where zero is."""
    if 0 < np.ptp(x) < 0.01:  # what is below rounding against the shift is no variation
        x = np.round(x)
    one, other = pooled(x), pooled(scale * x + shift)
    for name in TEMPORAL:
        factor = scale if name in ("delta", "slope", "early", "middle", "late") else 1.0
        assert other[name] == pytest.approx(factor * one[name], rel=1e-3, abs=2e-3), name
    for name in (*LAGS_S, "pulse"):
        assert -1.001 <= one[name] <= 1.001


@pytest.mark.parametrize("n", [1, 2, 30, 300])
@pytest.mark.parametrize("value", [0.0, 7.0, -1000.0])
def test_what_does_not_vary_says_nothing(n: int, value: float) -> None:
    found = pooled(np.full(n, value, np.float16))
    assert all(found[name] == pytest.approx(np.log10(FLOOR)) for name in OCTAVES_HZ)
    assert all(found[name] == pytest.approx(0, abs=1e-9) for name in TEMPORAL if name[:3] != "mod")


# Steps and blocks --------------------------------------------------------------------------------


def test_frames_become_about_twenty_steps() -> None:
    rates = {5.38: 1, 25.0: 1, 43.07: 2, 75.0: 4, 344.5: 17}
    assert {rate: frames_a_step(rate, 1) for rate in rates} == rates
    assert frames_a_step(50.0, BANDS) == BANDS  # 6.25 moments a second, of eight bands
    assert frames_a_step(25.0, 1, 2.0) == 12
    assert frames_a_step(1.0, 1, 2.0) == 1
    steps = list(averaged([np.arange(8.0)[:, None], np.array([[1.0], [2.0], [9.0]])], 4))
    np.testing.assert_allclose(np.concatenate(steps)[:, 0], [1.5, 5.5, 4.0])


def test_faster_frames_give_what_their_averages_do() -> None:
    x = np.random.default_rng(2).normal(size=1600).cumsum()
    fast, slow = pooled(x, rate=80.0), pooled(x.reshape(-1, 4).mean(axis=1), rate=20.0)
    assert fast == pytest.approx(slow)


def test_names_agree() -> None:
    assert get_args(StatName) == ALL_STATS
    assert Timing.of({"frame_rate_hz": 50.0, "kind": "audiomae"}) == (50.0, BANDS)
    assert Timing.of({"frame_rate_hz": 25.0, "kind": "muq"}) == (25.0, 1)


def test_too_few_frames_a_second_are_refused() -> None:
    with pytest.raises(ConfigError, match="too few"):
        pooled(np.zeros(9), ["mod_1000"], rate=3.0)
    with pytest.raises(ConfigError, match="unknown"):
        pool_frames(np.zeros((9, 1, 1)), ["mean", "pulse"])


@pytest.fixture
def store(tmp_path: Path) -> RaggedStore:
    rng = np.random.default_rng(0)
    items = []
    for i, length in enumerate((5, 1, 90)):
        frames = rng.normal(2, 1, (length, 3, 4)).cumsum(axis=0).astype(np.float16)
        item = Item({"frames": frames, "level": np.full(3, -20, np.float32)}, {}, "")
        items.append((f"clip{i}", f"key{i}", item))
    attrs = {"layers": ["1", "2", "ctx"], "frame_rate_hz": 10.0, "step": "embedding-test"}
    write_store(tmp_path / "embedding.zarr", items, attrs=attrs, quarantined={})
    return RaggedStore(tmp_path / "embedding.zarr")


def test_statistics_stand_in_the_order_asked_for(store: RaggedStore, tmp_path: Path) -> None:
    asked = ["pulse", "std", "mod_250", "mean", "early"]
    pool_store(store, asked, tmp_path / "pooled.zarr")
    found = PooledStore(tmp_path / "pooled.zarr")
    assert found.stats == asked
    for layer, name in enumerate(found.layers):
        for row, clip in enumerate(store.clips):
            frames = store.frames(clip)[:, layer].astype(np.float64)
            values = found.layer(name)[row]
            np.testing.assert_allclose(values[1], frames.std(0), rtol=1e-5)
            np.testing.assert_allclose(values[3], frames.mean(0), rtol=1e-5)
            for column in range(4):
                twin = pooled(frames[:, column], ["pulse", "mod_250", "early"], 10.0)
                np.testing.assert_allclose(values[[0, 2, 4], column], list(twin.values()),
                                           rtol=1e-4, atol=1e-6)  # fmt: skip


def test_long_clips_are_read_in_blocks_to_the_same_values(
    store: RaggedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = Timing.of(store.attrs)
    whole = [pool_clip(store, clip, ALL_STATS, timing) for clip in store.clips]
    for clip, values in zip(store.clips, whole, strict=True):
        found = pool_frames(store.frames(clip), ALL_STATS, timing)
        np.testing.assert_array_equal(found, values)
    monkeypatch.setattr("pianoeval.features.framestats.WHOLE_FRAMES", 4)
    monkeypatch.setattr("pianoeval.features.framestats.BLOCK_FRAMES", 3)
    monkeypatch.setattr("pianoeval.features.temporal._BLOCK_STEPS", 1)
    for clip, values in zip(store.clips, whole, strict=True):
        found = pool_clip(store, clip, ALL_STATS, timing)
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-5)
    assert set(STATS).isdisjoint(TEMPORAL)
