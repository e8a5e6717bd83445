"""Hidden states of the top level of Jukebox's VQ-VAE by transformers 4, which still has it.

Run with an interpreter that has transformers < 5 (see ``make reference``)::

    python jukebox.py golden OUT.safetensors       a tiny network, drawn here
    python jukebox.py states IN.safetensors OUT.safetensors

``IN`` holds weights under the names of ``JukeboxVQVAE`` (other levels and decoders may be missing),
``audio`` (batch, samples) at 44.1 kHz, and in its metadata ``config``, the arguments of
``JukeboxVQVAEConfig``. ``OUT`` holds ``latent`` and ``quantized`` (batch, frames, dim) and
``codes`` (batch, frames), and from ``golden`` what ``IN`` would hold, too.
"""

from __future__ import annotations

import json
import sys

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.models.deprecated.jukebox.configuration_jukebox import JukeboxVQVAEConfig
from transformers.models.deprecated.jukebox.modeling_jukebox import JukeboxVQVAE

TOP = 2
TINY = {
    "embed_dim": 8, "nb_discrete_codes": 32, "res_conv_width": 6, "res_conv_depth": 3,
    "res_dilation_cycle": 2, "res_convolution_multiplier": 2, "conv_res_scale": True,
    "res_downs_t": [2, 1, 2], "res_strides_t": [2, 2, 2], "multipliers": [2, 1, 1],
}  # fmt: skip


def model_of(config: dict[str, object]) -> JukeboxVQVAE:
    known = {name: value for name, value in config.items() if name != "model_type"}
    return JukeboxVQVAE(JukeboxVQVAEConfig(**known)).eval()


@torch.inference_mode()
def states(
    config: dict[str, object], weights: dict[str, torch.Tensor], audio: torch.Tensor
) -> dict[str, torch.Tensor]:
    model = model_of(config)
    found = model.load_state_dict(weights, strict=False)
    mine = (f"encoders.{TOP}.", f"bottleneck.level_blocks.{TOP}.")
    assert not found.unexpected_keys
    assert not [name for name in found.missing_keys if name.startswith(mine)]
    latent = model.encoders[TOP](audio[:, None])[-1]
    codes = model.encode(audio[:, :, None])[TOP]
    quantized = model.bottleneck.level_blocks[TOP].decode(codes)
    return {
        "latent": latent.transpose(1, 2).contiguous(),
        "quantized": quantized.transpose(1, 2).contiguous(),
        "codes": codes.contiguous(),
    }


def draw() -> tuple[dict[str, object], dict[str, torch.Tensor], torch.Tensor]:
    """A tiny network at random whose codes are frames of what it is given, slightly moved."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, value in model_of(TINY).state_dict().items():
        fan_in = value[0].numel() if value.ndim > 1 else 100.0
        weights[name] = fan_in**-0.5 * 1.5 * torch.randn(value.shape, generator=generator)
    t = torch.arange(2500) / 44_100
    tone = 0.5 * torch.sin(2 * torch.pi * 440 * t) * torch.exp(-30 * t)
    noise = 0.1 * torch.randn(2500, generator=generator)
    audio = torch.stack([tone + 0.1 * noise, torch.where(t > 0.025, noise, 0.0)])
    latent = states(TINY, weights, audio)["latent"].flatten(0, 1)
    codes = latent[torch.randperm(len(latent), generator=generator)[:32]]
    moved = codes + 0.02 * latent.std(0) * torch.randn(codes.shape, generator=generator)
    weights[f"bottleneck.level_blocks.{TOP}.codebook"] = moved
    return dict(TINY), weights, audio


def main() -> None:
    if sys.argv[1] == "golden":
        config, weights, audio = draw()
        held = {f"weights.{name}": value for name, value in weights.items()}
        meta = {
            "config": json.dumps({**config, "model_type": "jukebox_vqvae"}),
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
