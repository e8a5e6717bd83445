"""Audio-MAE against timm's vision transformer over torchaudio's Kaldi filter bank."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_cases import fetch
from reference_run import needs_reference, run_reference
from safetensors import safe_open

from pianoeval.encoders.audiomae.encoder import AudioMaeEncoder
from pianoeval.encoders.audiomae.fbank import KaldiFbank
from pianoeval.encoders.audiomae.net import VitConfig, random_state
from pianoeval.params import CheckpointParams

GOLDEN = Path(__file__).parent / "golden" / "audiomae.safetensors"
pytestmark = pytest.mark.usefixtures("checkpoint_cache")


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Tensors of the file, and the arguments of timm's network."""
    with safe_open(GOLDEN, "pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return held, json.loads(file.metadata()["config"])


def test_filter_bank_equals_that_of_torchaudio(
    golden: tuple[dict[str, torch.Tensor], dict[str, object]],
) -> None:
    held, _ = golden
    audio = held["audio"] - held["audio"].mean(1, keepdim=True)
    found = KaldiFbank(16_000, 128)(audio)
    assert held["fbank"].min() < -15.9 < -3 < held["fbank"].max()
    torch.testing.assert_close(found, held["fbank"], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("name", "n_samples"), [("states", 10_480), ("short.states", 8000)])
def test_states_equal_those_of_timm(
    name: str,
    n_samples: int,
    golden: tuple[dict[str, torch.Tensor], dict[str, object]],
    tmp_path: Path,
) -> None:
    held, config = golden
    state = {k.removeprefix("weights."): v for k, v in held.items() if k.startswith("weights.")}
    digest = fetch("audiomae", {"model_args": config}, state, tmp_path / "tiny")
    params = CheckpointParams(kind="audiomae", chunk_s=0.64, digest=digest)
    found = AudioMaeEncoder(params).encode(held["audio"][:, :n_samples].numpy())
    want = held[name].numpy()
    assert found.shape == want.shape == (2, n_samples // 2560 * 8, 3, 24)
    np.testing.assert_allclose(found, want, atol=1e-4)


@needs_reference
@pytest.mark.parametrize("n_samples", [164_080, 80_000], ids=["whole", "short"])
def test_full_size_equals_timm(n_samples: int, tmp_path: Path) -> None:
    sound = 0.05 * np.random.default_rng(0).standard_normal((1, n_samples))
    audio = torch.tensor(sound, dtype=torch.float32)
    config = {"embed_dim": 768, "depth": 12, "num_heads": 12, "img_size": [1024, 128]}
    given = {**random_state(VitConfig(), 12, 3), "audio": audio}
    want = run_reference("audiomae", given, {"config": json.dumps(config)}, tmp_path)["states"]
    params = CheckpointParams(kind="audiomae", weights="random", seed=3, chunk_s=10.24)
    found = AudioMaeEncoder(params).encode(audio.numpy())
    assert found.shape == want.shape == (1, (n_samples - 240) // 2560 * 8, 13, 768)
    np.testing.assert_allclose(found, want.numpy(), atol=5e-5)
