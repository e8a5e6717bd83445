"""What is in the key of an embedding of every kind, and what is stored beside it."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_cases import CASES, case_params, load, other_digest
from numpy.typing import NDArray

from pianoeval.cache import Item
from pianoeval.encoders.extract import EmbedJob, embed_item, embed_jobs
from pianoeval.encoders.registry import KINDS, encoder_spec
from pianoeval.params import EncoderParams, Params, RunParams
from pianoeval.store import RaggedStore, write_store

kinds = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.usefixtures("checkpoint_cache")
COMPILED = ("muq", "mert", "audiomae")


@pytest.fixture(scope="module")
def audio_store(tmp_path_factory: pytest.TempPathFactory, notes: NDArray[np.float32]) -> Path:
    """A clip, and the same clip 12 dB softer."""
    samples = 4 * np.rint(notes[:30_000] * 8191 / np.abs(notes).max()).astype(np.int16)
    clips = {"loud": (samples, -20.0), "soft": ((samples // 4).astype(np.int16), -32.0)}
    items = []
    for clip, (x, db) in clips.items():
        level = np.float32([db, db - 1, db + 12])
        items.append((clip, clip, Item({"frames": x[:, None, None], "level": level}, {}, "")))
    path = tmp_path_factory.mktemp("audio") / "audio.zarr"
    attrs = {"sample_rate_hz": 44_100, "instrument_name": "test"}
    write_store(path, items, attrs=attrs, quarantined={})
    return path


def keys(store: Path, encoder: EncoderParams, name: str = "a", **run: Any) -> tuple[str, ...]:
    params = Params.model_construct(encoders={name: encoder}, run=RunParams(**run))
    return tuple(job.key for job in embed_jobs(store, name, params))


def changes(kind: str, folder: Path) -> list[dict[str, Any]]:
    """Settings that change numbers; the first changes nothing."""
    case = CASES[kind]
    found: list[dict[str, Any]] = [
        {}, {"chunk_s": 1.0}, {"overlap_s": 0.2}, {"overlap_s": 0.4}, {"device": "cuda"},
        {"last_chunk": "short"},
    ]  # fmt: skip
    found += [{"layers": layers} for layers in case.layers if kind != "mel"]
    if case.bfloat16 and case.bfloat16_layers == "all":
        found.append({"precision": "bfloat16"})
    elif case.bfloat16:
        found.append({"precision": "bfloat16", "layers": case.bfloat16_layers})
    if kind in COMPILED:
        found.append({"device": "cuda", "compile": True})
    if kind != "mel":
        found += [{"weights": "random", "seed": seed} for seed in (0, 1)]
    if case.tiny:
        found.append({"digest": other_digest(kind, folder)})
    return found


@kinds
def test_every_number_is_in_the_key(kind: str, audio_store: Path, tmp_path: Path) -> None:
    settings = changes(kind, tmp_path)
    found = [keys(audio_store, case_params(kind, **change)) for change in settings]
    assert all(len(set(pair)) == 2 for pair in found)  # the audio
    for (i, a), (j, b) in combinations(enumerate(found), 2):
        assert not set(a) & set(b), (settings[i], settings[j])


@kinds
def test_names_and_execution_are_not_in_the_key(kind: str, audio_store: Path) -> None:
    params = case_params(kind)
    want = keys(audio_store, params)
    assert keys(audio_store, params, name="other") == want
    assert keys(audio_store, params, workers=3, job_timeout_s=7) == want
    every = ",".join(load(params).spec.layer_names)
    assert keys(audio_store, case_params(kind, layers=every)) == want
    if CASES[kind].tiny:  # the hash says which weights they are
        named = case_params(kind, model="owner/name", revision="0" * 40, file="other.safetensors")
        assert keys(audio_store, named) == want


@kinds
def test_level_is_stored_beside_the_embedding(kind: str, audio_store: Path) -> None:
    params = case_params(kind)
    load(params)  # skips without weights
    store = RaggedStore(audio_store)
    frames = {}
    for clip in ("loud", "soft"):
        arrays, meta = embed_item(EmbedJob(audio_store, clip, params, "it"))
        level = np.asarray(arrays["level"])
        np.testing.assert_array_equal(level, store.level[store.row(clip)])
        parts = getattr(arrays["frames"], "parts", None)
        frames[clip] = np.concatenate(list(parts)) if parts else np.asarray(arrays["frames"])
        assert frames[clip].dtype == np.float16
        assert meta["frame_rate_hz"] > 0
    assert store.level[store.row("loud"), 0] - store.level[store.row("soft"), 0] == 12
    difference = np.abs(frames["loud"].astype(np.float32) - frames["soft"]).max()
    size = float(np.abs(frames["loud"]).max())
    if CASES[kind].hears_gain:
        assert difference > 0.02 * size
    else:  # 12 dB are in the level only
        assert difference < 2e-3 * size


def test_the_table_of_the_docs_says_what_is() -> None:
    """Rate, frames a second, width, mixed lengths and tolerance of every kind."""
    text = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text(encoding="utf-8")
    table = text.split("## Contract")[1].split("\n\n")[1].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert sorted(row[0] for row in rows) == sorted(f"`{kind}`" for kind in KINDS)
    for name, _, rate, frames, _, dim, _, bfloat16, mixed, tolerance in rows:
        kind = name.strip("`")
        case, random = CASES[kind], {"weights": "random"} if kind != "mel" else {}
        spec = encoder_spec(case_params(kind, **random))
        assert float(tolerance) == case.tolerance
        assert (mixed == "yes") == load(case_params(kind)).masked
        assert (bfloat16 != "no") == bool(case.bfloat16)
        if kind != "mel":  # free
            assert (int(rate), int(dim)) == (spec.sample_rate_hz, spec.dim)
            assert float(frames) == pytest.approx(spec.frame_rate_hz, rel=1e-3)
