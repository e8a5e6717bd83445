"""Hidden states of HuBERT with MERT's settings, by transformers 4.

Run with an interpreter that has it (see ``make reference``)::

    python mert.py OUT.safetensors

``OUT`` holds, for each of ``base`` (as MERT-v1-95M) and ``large`` (as the authors' configuration
of the 330M model: layer norms first), tiny weights as ``<case>/weights/<name>``, and
``<case>/states`` (batch, frames, layers, dim) of ``audio`` (batch, samples) at 24 kHz, normalised
by Wav2Vec2FeatureExtractor. The metadata hold each case's ``config.json``.
"""

from __future__ import annotations

import json
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

SIZES = {
    "sample_rate": 24000, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3,
    "intermediate_size": 40, "conv_dim": [12] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2], "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
CASES = {
    "base": {**SIZES, "do_stable_layer_norm": False, "attention_relax": -1.0},
    "large": {**SIZES, "do_stable_layer_norm": True, "attention_relax": 32.0},
}
SPELLINGS = {"parametrizations.weight.original0": "weight_g",
             "parametrizations.weight.original1": "weight_v"}  # fmt: skip


def sound(n: int = 4800) -> torch.Tensor:
    """Two rows: decaying tones with an offset, and noise."""
    t = torch.arange(n, dtype=torch.float64) / 24000
    tones = sum(torch.sin(2 * torch.pi * hz * t) for hz in (220.0, 554.4, 1318.5))
    noise = torch.randn(n, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return torch.stack([0.1 * tones * torch.exp(-8 * t) + 0.02, 0.05 * noise]).float()


def network(config: dict[str, object]) -> HubertModel:
    """With every parameter at random, norms and biases too."""
    torch.manual_seed(3)
    model = HubertModel(HubertConfig(**config)).eval()
    for name, value in model.named_parameters():
        gain = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        spread = value[0].numel() ** -0.5 if value.dim() > 1 else 0.2
        value.data = gain + spread * torch.randn(value.shape)
        if name.endswith("original0"):
            value.data = value.data.abs() + 0.5
    return model


@torch.inference_mode()
def main(target: str) -> None:
    audio = sound()
    ready = Wav2Vec2FeatureExtractor(sampling_rate=24000, do_normalize=True)(
        list(audio.numpy()), sampling_rate=24000, return_tensors="pt"
    )["input_values"]
    tensors = {"audio": audio}
    for case, config in CASES.items():
        model = network(config)
        states = model(ready, output_hidden_states=True).hidden_states
        tensors[f"{case}/states"] = torch.stack(states, 2)
        for name, value in model.state_dict().items():
            if case == "base":  # as published, before PyTorch 2.1
                for new, old in SPELLINGS.items():
                    name = name.replace(new, old)
            tensors[f"{case}/weights/{name}"] = value
    about = {case: json.dumps(config) for case, config in CASES.items()}
    about["versions"] = f"transformers {transformers.__version__}, torch {torch.__version__}"
    save_file({k: v.contiguous() for k, v in tensors.items()}, target, about)
    print(about["versions"])


if __name__ == "__main__":
    main(sys.argv[1])
