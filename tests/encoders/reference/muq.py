"""Hidden states of MuQ by the authors' package muq and torchaudio's mel spectrogram.

Run with an interpreter that has both (see ``make reference``)::

    python muq.py golden OUT.safetensors       a tiny network, drawn here
    python muq.py states IN.safetensors OUT.safetensors

``IN`` holds weights under the published names, ``audio`` (batch, samples) at 24 kHz, and in its
metadata ``config``, the arguments of ``MuQConfig``. ``OUT`` holds ``mel``, the normalised
spectrogram, and ``states`` (batch, frames, layers, dim), and from ``golden`` what ``IN`` would
hold, too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# This folder has a module of the package's name.
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).parent]
sys.path.append(str(Path(__file__).parent))

import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from stand_in import without_init  # noqa: E402

without_init("muq")  # it imports the text model
import torchaudio  # noqa: E402
import transformers  # noqa: E402
from muq.muq.muq import MuQ, MuQConfig  # noqa: E402

# Read by transformers' encoder; without a part in evaluation, or in parts that are not run.
TRAINING = {
    "activation_dropout": 0.1, "attention_dropout": 0.1, "conformer_conv_dropout": 0.1,
    "feat_extract_activation": "gelu", "hidden_dropout": 0.1, "layerdrop": 0.0,
    "max_source_positions": 5000,
}  # fmt: skip
Tensors = dict[str, torch.Tensor]


def build(config: dict[str, Any]) -> MuQ:
    """The authors' network."""
    groups = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 4}
    wav2vec = {**TRAINING, **groups, **config["w2v2_config"]}
    return MuQ(MuQConfig(**{**config, "w2v2_config": wav2vec})).eval()


@torch.inference_mode()
def states(config: dict[str, Any], weights: Tensors, audio: torch.Tensor) -> Tensors:
    """Normalised mel spectrogram and hidden states; parts that are not run may lack weights."""
    network = build(config)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    unused = ("model.cls_token", "model.linear.", "model.quantizer_", "model.conformer.pos_conv",
              "model.conformer.embed_positions.")  # fmt: skip
    assert not unexpected, unexpected
    assert all(name.startswith(unused) for name in missing), missing
    mel = network.model.normalize(network.model.preprocessing(audio, ["melspec_2048"]))
    found = network(audio).hidden_states
    return {"mel": mel["melspec_2048"].contiguous(), "states": torch.stack(found, 2).contiguous()}


def draw() -> tuple[dict[str, Any], Tensors, torch.Tensor]:
    """A tiny network with every parameter at random, and audio with silence and an offset."""
    generator = torch.Generator().manual_seed(0)
    config: dict[str, Any] = {
        "codebook_dim": 2, "codebook_size": 8, "conv_dim": 8, "encoder_dim": 12,
        "encoder_depth": 12,
        "stat": {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623},
        "w2v2_config": {
            "position_embeddings_type": "rotary", "rotary_embedding_base": 10000,
            "hidden_act": "swish", "num_attention_heads": 2, "intermediate_size": 14,
            "conv_depthwise_kernel_size": 5, "layer_norm_eps": 1e-5,
        },
    }  # fmt: skip
    weights: Tensors = {}
    for name, value in build(config).state_dict().items():
        if name.endswith(("num_batches_tracked", "inv_freq")):
            weights[name] = value
            continue
        noise = torch.randn(value.shape, generator=generator)
        fan_in = value[0].numel() if value.ndim > 1 else 1
        scaled = noise / fan_in**0.5 if value.ndim > 1 else 0.2 * noise
        if name.endswith("running_var"):
            scaled = 0.5 + noise.abs()
        elif value.ndim == 1 and name.endswith("weight"):
            scaled = 1 + 0.2 * noise
        weights[name] = scaled
    t = torch.arange(7_300) / 24_000
    tone = 0.2 * torch.sin(2 * torch.pi * 440 * t) * torch.exp(-3 * t)
    noise = 0.02 * torch.randn(len(t), generator=generator)
    second = 0.1 + torch.where(t > 0.2, noise, 0.0)
    audio = torch.stack([tone + noise, second])
    return config, weights, (32768 * audio).round().to(torch.int16)


def main() -> None:
    versions = (
        f"muq 0.1.0, transformers {transformers.__version__}, torchaudio {torchaudio.__version__}"
    )
    if sys.argv[1] == "golden":
        config, weights, integers = draw()
        audio = integers.float() / 32768
        found = states(config, weights, audio)
        short = states(config, weights, audio[:, :1025])
        held = {f"weights.{name}": value for name, value in weights.items()}
        held |= {"audio": integers, "short.states": short["states"]}
        meta = {"config": json.dumps(config), "reference": versions}
        save_file({**held, **found}, sys.argv[2], meta)
        return
    with safe_open(sys.argv[2], "pt") as file:
        config = json.loads(file.metadata()["config"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    audio = held.pop("audio")
    save_file(states(config, held, audio), sys.argv[3])
    print(versions)


if __name__ == "__main__":
    main()
