"""From an audio store to an embedding store: reuse, keys, quarantine, errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import PARAMS
from numpy.typing import NDArray
from torch import Tensor

from pianoeval.cache import Item, ItemCache
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.extract import EmbedJob, embed_audio, embed_corpus, embed_item, embed_jobs
from pianoeval.errors import BadInputError, ConfigError, MissingAssetError, PianoevalError
from pianoeval.params import EncoderParams, MelParams, Params, RunParams, TranskunParams
from pianoeval.store import RaggedStore, write_store

I2 = NDArray[np.int16]


def make_params(**encoders: EncoderParams) -> Params:
    """Only what embedding reads."""
    run = RunParams(workers=1, max_failed_fraction=0.5)
    return Params.model_construct(encoders=encoders, run=run)


@pytest.fixture
def audio_store(tmp_path: Path, notes: NDArray[np.float32]) -> Path:
    samples: I2 = np.rint(notes * 32767).astype(np.int16)
    clips = {"long": samples, "short": samples[:20_000], "click": samples[:100]}
    items = [
        (clip, clip, Item({"frames": x[:, None, None], "level": np.float32([i, -20, -3])}, {}, ""))
        for i, (clip, x) in enumerate(clips.items())
    ]
    path = tmp_path / "audio.zarr"
    attrs = {"sample_rate_hz": 44_100, "instrument_name": "test"}
    write_store(path, items, attrs=attrs, quarantined={"mute": "no notes"})
    return path


def test_corpus(audio_store: Path, tmp_path: Path, loaded: Callable[[str], Encoder]) -> None:
    params = make_params(mel=PARAMS["mel"])
    cache, out = ItemCache(tmp_path / "items"), tmp_path / "mel.zarr"
    report = embed_corpus(audio_store, "mel", params, cache, out)
    assert (report.computed, report.reused) == (2, 0)
    store = RaggedStore(out)
    assert store.clips == ["long", "short"]
    assert set(store.quarantined) == {"mute", "click"}
    assert "too short" in store.quarantined["click"]
    np.testing.assert_array_equal(store.level[:, 0], [0, 1])
    assert store.attrs["layers"] == ["1"]
    assert store.frames("long").shape == (-(-132_300 // 1024), 1, 128)
    samples = RaggedStore(audio_store).frames("short")[:, 0, 0]
    want = loaded("mel").encode(samples[None].astype(np.float32) / 32768)[0]
    np.testing.assert_array_equal(store.frames("short"), want.astype(np.float16))


def test_keys_follow_the_numbers_and_not_the_names(audio_store: Path) -> None:
    def keys(name: str, **encoders: EncoderParams) -> list[str]:
        return [job.key for job in embed_jobs(audio_store, name, make_params(**encoders))]

    mel, transkun = MelParams(), TranskunParams()
    base = keys("a", a=transkun)
    assert keys("b", b=transkun) == base
    assert keys("b", b=TranskunParams(layers="1..6,ctx")) == base
    assert len(set(base)) == 3
    for other in (
        TranskunParams(layers="4"),
        TranskunParams(precision="bfloat16"),
        TranskunParams(chunk_s=5),
        TranskunParams(weights="random"),
        mel,
    ):
        assert not set(keys("a", a=other)) & set(base)


def test_item_of_transkun(audio_store: Path, loaded: Callable[[str], Encoder]) -> None:
    loaded("transkun")  # skips without weights
    arrays, meta = embed_item(EmbedJob(audio_store, "long", PARAMS["transkun"], "it"))
    assert arrays["frames"].shape == (17, 7, 1536)
    assert arrays["frames"].dtype == np.float16
    np.testing.assert_array_equal(arrays["level"], np.float32([0, -20, -3]))
    assert meta["frame_rate_hz"] == pytest.approx(5.383, abs=1e-3)
    with pytest.raises(BadInputError, match="93 ms"):
        embed_item(EmbedJob(audio_store, "click", PARAMS["transkun"], "it"))


def test_missing_weights_and_unknown_encoder(
    audio_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "empty"))
    params = make_params(transkun=PARAMS["transkun"])
    cache, out = ItemCache(tmp_path / "items"), tmp_path / "out.zarr"
    with pytest.raises(MissingAssetError, match=r"pianoeval fetch transkun-2\.0"):
        embed_corpus(audio_store, "transkun", params, cache, out)
    with pytest.raises(ConfigError, match="unknown encoder 'muq'"):
        embed_corpus(audio_store, "muq", params, cache, out)
    assert not out.exists()


def test_audio_at_another_rate_is_resampled(
    loaded: Callable[[str], Encoder], notes: NDArray[np.float32]
) -> None:
    encoder = loaded("mel")
    frames = embed_audio(notes[::2], 22_050, encoder)  # nothing above 11 kHz in the notes but hiss
    want = embed_audio(notes, 44_100, encoder)
    assert frames.shape == want.shape
    low = slice(0, 60)
    assert np.abs(frames[5:-5, 0, low] - want[5:-5, 0, low]).mean() < 0.05


class Loud(Encoder):
    """Gives the largest sample times 1e6."""

    spec = EncoderSpec("loud", "loud", 100, 100, 10, 1, ("1",), 1, "float32", "", 1)

    device = torch.device("cpu")

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        shape = (len(chunks), self.spec.n_frames(chunks.shape[1]), 1, 1)
        return torch.full(shape, min(float(chunks.max()) * 1e6, 1e38))


def test_values_that_float16_cannot_hold_are_an_error() -> None:
    assert embed_audio(np.full(250, 0.06, np.float32), 100, Loud()).max() == pytest.approx(6e4)
    for value in (0.07, np.float32(3e38)):
        with pytest.raises(PianoevalError, match="float16"):
            embed_audio(np.full(250, value, np.float32), 100, Loud())


def test_a_worker_that_lives_on_sees_audio_that_was_rendered_again(tmp_path: Path) -> None:
    def write(*clips: str) -> Path:
        samples = np.arange(5000, dtype=np.int16)[:, None, None]
        item = Item({"frames": samples, "level": np.zeros(3, np.float32)}, {}, "")
        attrs = {"sample_rate_hz": 44_100}
        path = tmp_path / "audio.zarr"
        write_store(path, [(clip, clip, item) for clip in clips], attrs=attrs, quarantined={})
        return path

    def frames(clip: str) -> Any:
        arrays, _ = embed_item(EmbedJob(write_at, clip, PARAMS["mel"], "it"))
        return arrays["frames"]

    write_at = write("a")
    assert frames("a").shape[0] > 0
    write("b", "a")
    assert frames("b").shape == frames("a").shape


def test_layers_may_be_a_list(audio_store: Path) -> None:
    """Workers keep their encoder by its parameters, so these must be hashable."""
    block = {"weights": "random", "chunk_s": 2.0, "layers": [1]}
    params = TranskunParams.model_validate(block)
    arrays, _ = embed_item(EmbedJob(audio_store, "short", params, "it"))
    assert list(arrays["frames"].shape) == [3, 1, 1536]
