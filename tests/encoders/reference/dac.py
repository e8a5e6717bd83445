"""Hidden states of DAC by transformers.

Run with any interpreter that has transformers >= 4.44 (see ``make reference``)::

    python dac.py golden OUT.safetensors       a tiny network, drawn here
    python dac.py states IN.safetensors OUT.safetensors

``IN`` holds weights under transformers' names (a decoder may be missing), ``audio``
(batch, samples) at 44.1 kHz, and in its metadata ``config``, the arguments of ``DacConfig``.
``OUT`` holds ``latent`` and ``quantized`` (batch, frames, dim) and ``codes``
(batch, codebooks, frames), and from ``golden`` what ``IN`` would hold, too.
"""

from __future__ import annotations

import json
import sys

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import DacConfig, DacModel

TINY = {
    "encoder_hidden_size": 6, "downsampling_ratios": [2, 4, 8], "decoder_hidden_size": 8,
    "n_codebooks": 3, "codebook_size": 32, "codebook_dim": 4, "sampling_rate": 44_100,
}  # fmt: skip


@torch.inference_mode()
def states(
    config: dict[str, object], weights: dict[str, torch.Tensor], audio: torch.Tensor
) -> dict[str, torch.Tensor]:
    model = DacModel(DacConfig(**config)).eval()
    found = model.load_state_dict(weights, strict=False)
    assert not found.unexpected_keys
    assert all(name.startswith("decoder.") for name in found.missing_keys)
    done = model.encode(audio[:, None])
    return {
        "latent": model.encoder(audio[:, None]).transpose(1, 2).contiguous(),
        "quantized": done.quantized_representation.transpose(1, 2).contiguous(),
        "codes": done.audio_codes.contiguous(),
    }


def draw() -> tuple[dict[str, object], dict[str, torch.Tensor], torch.Tensor]:
    """A tiny network with every parameter at random, and 1500 samples: not a whole hop."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, value in DacModel(DacConfig(**TINY)).state_dict().items():
        fan_in = value[0].numel() if value.ndim > 1 else 1.0
        drawn = torch.randn(value.shape, generator=generator)
        scale = 0.1 if name.endswith("bias") else fan_in**-0.5
        weights[name] = 1 + 0.3 * drawn if name.endswith("alpha") else scale * drawn
    t = torch.arange(1500) / 44_100
    tone = 0.5 * torch.sin(2 * torch.pi * 440 * t) * torch.exp(-30 * t)
    noise = 0.1 * torch.randn(1500, generator=generator)
    return (
        dict(TINY),
        weights,
        torch.stack([tone + 0.1 * noise, torch.where(t > 0.015, noise, 0.0)]),
    )


def main() -> None:
    if sys.argv[1] == "golden":
        config, weights, audio = draw()
        held = {f"weights.{name}": value for name, value in weights.items()}
        meta = {
            "config": json.dumps({**config, "model_type": "dac"}),
            "reference": f"transformers {transformers.__version__}",
        }
        save_file({**held, "audio": audio, **states(config, weights, audio)}, sys.argv[2], meta)
        return
    with safe_open(sys.argv[2], "pt") as file:
        config = json.loads(file.metadata()["config"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    audio = held.pop("audio")
    save_file(states(config, held, audio), sys.argv[3])
    print(f"transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
