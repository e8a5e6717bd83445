"""Resampling in parts is resampling at once."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.resampling import resample_parts, resampled_length

RATES = [16_000, 22_050, 24_000, 44_100, 48_000]


@settings(deadline=None)
@given(
    n=st.integers(1, 30_000), cuts=st.lists(st.integers(0, 30_000), max_size=6),
    rates=st.tuples(st.sampled_from(RATES), st.sampled_from(RATES)), seed=st.integers(0, 99),
)  # fmt: skip
def test_parts_do_not_matter(n: int, cuts: list[int], rates: tuple[int, int], seed: int) -> None:
    audio = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    parts = np.split(audio, sorted(min(cut, n) for cut in cuts))
    found = np.concatenate(list(resample_parts(parts, *rates)))
    np.testing.assert_array_equal(found, soxr.resample(audio, *rates, "VHQ"))
    assert resampled_length(n, *rates) == len(found)


@pytest.mark.parametrize(
    ("n", "rates"), [(50, (32_000, 24_000)), (2760, (24_000, 44_100)), (12_000, (96_000, 44_100))]
)
def test_lengths_of_halves_are_soxrs(n: int, rates: tuple[int, int]) -> None:
    assert (2 * n * rates[1]) % rates[0] == 0
    assert resampled_length(n, *rates) == len(soxr.resample(np.zeros(n, np.float32), *rates, "VHQ"))
