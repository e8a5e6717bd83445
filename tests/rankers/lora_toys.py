"""Takes of tones whose order is known, and a small encoder that can be taught to hear it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from pianoeval.cache import Item
from pianoeval.checkpoints import get_checkpoint
from pianoeval.encoders.muq.config import DEFAULT_CONFIG, SAMPLE_RATE_HZ, random_state, read_shape
from pianoeval.params import CheckpointParams
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.audio import TakeAudio
from pianoeval.rankers.base import RankFold
from pianoeval.store import RaggedStore, write_store
from pianoeval.training.adapted import heard_through

DIM = 24


def deaf_encoder(folder: Path) -> CheckpointParams:
    """A tiny MuQ with random weights, of whose last layer one value in twelve gets through."""
    inner = {**DEFAULT_CONFIG["w2v2_config"], "num_attention_heads": 3, "intermediate_size": 48}
    config = {**DEFAULT_CONFIG, "n_mels": 32, "conv_dim": 8, "encoder_dim": DIM,
              "encoder_depth": 1, "w2v2_config": inner}  # fmt: skip
    state = random_state(read_shape(config, "tiny"), 1, 0)
    state["model.conformer.layer_norm.weight"] = (torch.arange(DIM) % 12 == 0).float()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(state, folder / "model.safetensors")
    digest = get_checkpoint("tiny", CheckpointParams(kind="muq"), folder).digest
    return CheckpointParams(kind="muq", digest=digest)


def ranker_params(**change: Any) -> RankerParams:
    lora = {
        "encoder": "tiny", "instrument": "grand", "layers": "1", "crop_s": 0.4, "batch_takes": 10,
        "steps": 4, "check_every": 2, "device": "cpu", "targets": ["attention", "feed_forward"],
        "rank": 4, **change.pop("lora", {}),
    }  # fmt: skip
    return RankerParams.model_validate(
        {"views": ["any"], "approach": "lora", "lora": lora, "projection": 8, **change}
    )


def toy_audio(folder: Path, n_segments: int = 12, takes: int = 5) -> tuple[RaggedStore, np.ndarray]:
    """0.3 to 0.7 s of two tones; the label is by how much the upper one is the louder (10 dB)."""
    rng = np.random.default_rng(3)
    items, labels = [], []
    for segment in range(n_segments):
        for take in range(takes):
            t = np.arange(int(SAMPLE_RATE_HZ * rng.uniform(0.3, 0.7))) / SAMPLE_RATE_HZ
            label = rng.uniform(-1, 1)
            hz = 2 ** ((5 * segment % 12 + rng.normal(0, 0.3)) / 12)
            low, high = (np.sin(2 * np.pi * (base * hz * t + rng.random())) for base in (200, 1200))
            y = low * 10 ** (-0.25 * label) + high * 10 ** (0.25 * label)
            y *= 0.1 * rng.uniform(0.5, 1)
            y += rng.normal(0, 0.003, len(t))
            labels.append(label)
            arrays = {"frames": (y * 32767).astype(np.int16)[:, None, None], "level": np.zeros(3)}
            items.append((f"s{segment}t{take}", f"s{segment}t{take}", Item(arrays, {}, "")))
    path = folder / "grand.zarr"
    write_store(path, items, attrs={"sample_rate_hz": SAMPLE_RATE_HZ}, quarantined={})
    return RaggedStore(path), np.array(labels)[:, None]


def toy_fold(
    store: RaggedStore, labels: np.ndarray, encoder: CheckpointParams, params: RankerParams
) -> RankFold:
    """The last four segments are reported, the three before them are the validation group."""
    n = len(labels)
    segment = np.array([int(clip[1:].split("t")[0]) for clip in store.clips])
    last = int(segment.max())
    train, test = np.flatnonzero(segment <= last - 4), np.flatnonzero(segment > last - 4)
    late = segment[train] > last - 7
    first, second = np.triu_indices(len(test), 1)
    same = segment[test[first]] == segment[test[second]]
    pairs = np.stack([test[first[same]], test[second[same]]], axis=1)
    assert params.lora is not None
    audio = TakeAudio(store, store.clips, heard_through(encoder, params.lora), "tiny")
    return RankFold(
        "toy/0", np.zeros((n, 1), np.float32), segment, segment, np.arange(n), train, test,
        labels[train], np.full((len(train), 1), np.nan), pairs,
        validation=(np.flatnonzero(~late), np.flatnonzero(late)), audio=audio,
    )  # fmt: skip
