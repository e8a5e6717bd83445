"""Hidden states of Audio-MAE by timm's vision transformer and torchaudio's Kaldi filter bank.

Run with an interpreter that has both (see ``make reference``)::

    python audiomae.py golden OUT.safetensors       a tiny network, drawn here
    python audiomae.py states IN.safetensors OUT.safetensors

``IN`` holds weights under timm's names, ``audio`` (batch, samples) at 16 kHz, and in its metadata
``config``, the arguments of ``VisionTransformer``. ``OUT`` holds ``fbank`` and ``states``
(batch, frames, layers, dim), and from ``golden`` what ``IN`` would hold, too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))
from stand_in import hollow

hollow("torchvision")
import timm  # noqa: E402
import torchaudio  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402
from torchaudio.compliance import kaldi  # noqa: E402

MEAN, STD = -4.2677393, 4.5689974


def spectrogram(audio: torch.Tensor) -> torch.Tensor:
    """As in the data set of Audio-MAE: (samples,) to (frames, 128)."""
    wave = (audio - audio.mean())[None]
    bank = kaldi.fbank(
        wave, htk_compat=True, sample_frequency=16000, use_energy=False,
        window_type="hanning", num_mel_bins=128, dither=0.0, frame_shift=10,
    )  # fmt: skip
    return bank[: len(bank) // 16 * 16]


@torch.inference_mode()
def states(
    config: dict[str, object], weights: dict[str, torch.Tensor], audio: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Spectrogram and hidden states; a short image takes the first positions."""
    banks = torch.stack([spectrogram(row) for row in audio])
    image = (banks - MEAN) / (STD * 2)
    cropped = {**config, "img_size": (image.shape[1], 128)}
    model = VisionTransformer(patch_size=16, in_chans=1, num_classes=0, **cropped).eval()
    n_tokens = 1 + image.shape[1] // 16 * 8
    position = weights["pos_embed"][:, :n_tokens].contiguous()
    model.load_state_dict({**weights, "pos_embed": position}, strict=True)
    found: list[torch.Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda _, args: found.append(args[0]))
    for block in model.blocks:
        block.register_forward_hook(lambda _, __, out: found.append(out))
    found[-1:] = [model.forward_features(image[:, None])]
    return {"fbank": banks, "states": torch.stack(found, 2)[:, 1:].contiguous()}


def draw() -> tuple[dict[str, object], dict[str, torch.Tensor], torch.Tensor]:
    """A tiny network with every parameter at random, and audio with silence and an offset."""
    generator = torch.Generator().manual_seed(0)
    config: dict[str, object] = {
        "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 4.0, "img_size": [64, 128]
    }  # fmt: skip
    model = VisionTransformer(patch_size=16, in_chans=1, num_classes=0, **config)
    weights = {
        name: 0.15 * torch.randn(value.shape, generator=generator)
        + ("norm" in name and name.endswith("weight"))
        for name, value in model.state_dict().items()
    }
    t = torch.arange(10480) / 16000
    tone = 0.2 * torch.sin(2 * torch.pi * 440 * t) * torch.exp(-3 * t)
    noise = 0.02 * torch.randn(10480, generator=generator)
    second = 0.1 + torch.where(t > 0.3, noise, 0.0)
    return config, weights, torch.stack([tone + noise, second])


def main() -> None:
    if sys.argv[1] == "golden":
        config, weights, audio = draw()
        found = states(config, weights, audio)
        short = states(config, weights, audio[:, :8000])
        held = {f"weights.{name}": value for name, value in weights.items()}
        held |= {"audio": audio, "short.states": short["states"]}
        versions = f"timm {timm.__version__}, torchaudio {torchaudio.__version__}"
        meta = {"config": json.dumps(config), "reference": versions}
        save_file({**held, **found}, sys.argv[2], meta)
        return
    with safe_open(sys.argv[2], "pt") as file:
        config = json.loads(file.metadata()["config"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    audio = held.pop("audio")
    save_file(states(config, held, audio), sys.argv[3])
    print(f"timm {timm.__version__}, torchaudio {torchaudio.__version__}")


if __name__ == "__main__":
    main()
