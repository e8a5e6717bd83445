"""What MuQ's ``config.json`` may say, and its weights before training.

Names, defaults and meaning are those of the authors' package (muq 0.1.0, ``muq.py`` and
``models/muq_model.py``) and of the Wav2Vec2-Conformer of transformers that it builds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pianoeval.encoders.settings import check_sizes, sub_block
from pianoeval.errors import ConfigError

SAMPLE_RATE_HZ = 24_000
HOP = 240
DEFAULT_CONFIG: dict[str, Any] = {  # MuQ-large-msd-iter
    "label_rate": 25,
    "features": ["melspec_2048"],
    "hop_length": HOP,
    "n_mels": 128,
    "conv_dim": 512,
    "encoder_dim": 1024,
    "encoder_depth": 12,
    "is_flash": False,
    "stat": {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623},
    "w2v2_config": {
        "position_embeddings_type": "rotary",
        "rotary_embedding_base": 10_000,
        "hidden_act": "swish",
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "conv_depthwise_kernel_size": 31,
        "layer_norm_eps": 1e-5,
    },
}
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "label_rate": (25,),  # another rate has other strides
    "features": (["melspec_2048"],),
    "hop_length": (HOP,),
    "is_flash": (False,),
    "w2v2_config.position_embeddings_type": ("rotary",),
    "w2v2_config.hidden_act": ("swish", "silu"),
}


@dataclass(frozen=True)
class MuqShape:
    """Sizes and constants of the network.

    Parameters
    ----------
    mean, std : float
        Of the log-mel spectrogram (dB), for its normalisation.
    channels : int
        Of the convolutional stem.
    kernel : int
        Taps of the depthwise convolutions, odd.
    rotary_base : float
        Of the position angles.
    eps : float
        Of the last layer norm; the others have 1e-5.
    """

    n_mels: int
    mean: float
    std: float
    channels: int
    dim: int
    n_layers: int
    heads: int
    hidden: int
    kernel: int
    rotary_base: float
    eps: float


def read_shape(config: Mapping[str, Any], where: str) -> MuqShape:
    """The network of a ``config.json``.

    What the file leaves out is as in :data:`DEFAULT_CONFIG`, but for ``stat`` and
    ``w2v2_config``, which belong to the weights.

    Parameters
    ----------
    where : str
        Whose configuration it is, for the message.

    Raises
    ------
    ConfigError
        A value is missing, or one that is not supported; it is named.
    """
    blocks = {key: sub_block(config, key, where) for key in ("stat", "w2v2_config")}
    flat = _flatten({**DEFAULT_CONFIG, **config, **blocks})
    if missing := [key for key in _flatten(DEFAULT_CONFIG) if key not in flat]:
        raise _error(f"lacks {', '.join(missing)}", where, "the configuration of a MuQ")
    for key, values in _SUPPORTED.items():
        if flat[key] not in values:
            shown = " or ".join(repr(value) for value in values)
            raise _error(f"has {key}: {flat[key]!r}", where, f"{key}: {shown}")
    sizes = {key: _number(flat, key, where) for key in _NUMBERS}
    check_sizes({key: flat[key] for key in _SIZES}, _flatten(DEFAULT_CONFIG), where)
    n_mels, dim, kernel, heads = (int(sizes[key]) for key in _COUPLED)
    for wrong, key, allowed in (
        (n_mels % 4, "n_mels", "a multiple of 4"),
        (dim % (2 * heads), "encoder_dim", f"a multiple of twice num_attention_heads, {2 * heads}"),
        (kernel % 2 == 0, "w2v2_config.conv_depthwise_kernel_size", "an odd number"),
    ):
        if wrong:
            raise _error(f"has {key}: {flat[key]}", where, allowed)
    return MuqShape(
        n_mels=n_mels,
        mean=sizes["stat.melspec_2048_mean"],
        std=sizes["stat.melspec_2048_std"],
        channels=int(sizes["conv_dim"]),
        dim=dim,
        n_layers=int(sizes["encoder_depth"]),
        heads=heads,
        hidden=int(sizes["w2v2_config.intermediate_size"]),
        kernel=kernel,
        rotary_base=sizes["w2v2_config.rotary_embedding_base"],
        eps=sizes["w2v2_config.layer_norm_eps"],
    )


_COUPLED = (
    "n_mels", "encoder_dim", "w2v2_config.conv_depthwise_kernel_size",
    "w2v2_config.num_attention_heads",
)  # fmt: skip
_SIZES = (*_COUPLED, "conv_dim", "encoder_depth", "w2v2_config.intermediate_size")
_NUMBERS = (
    *_SIZES, "stat.melspec_2048_mean", "stat.melspec_2048_std",
    "w2v2_config.rotary_embedding_base", "w2v2_config.layer_norm_eps",
)  # fmt: skip


def _flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Values by key, those of ``stat`` and ``w2v2_config`` as ``stat.key``."""
    flat = {key: value for key, value in config.items() if key not in ("stat", "w2v2_config")}
    for group in ("stat", "w2v2_config"):
        flat |= {f"{group}.{key}": value for key, value in config[group].items()}
    return flat


def _number(flat: Mapping[str, Any], key: str, where: str) -> float:
    value = flat[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    positive = key != "stat.melspec_2048_mean"
    if not is_number or not math.isfinite(value) or (positive and value <= 0):
        allowed = f"one {'positive ' if positive else ''}number"
        raise _error(f"has {key}: {value!r}", where, allowed)
    return float(value)


def _error(what: str, where: str, allowed: str) -> ConfigError:
    return ConfigError(
        f"the checkpoint's config.json {what}", where=where, allowed=allowed,
        next_step="choose another MuQ with 'model' and 'revision' in params.yaml",
    )  # fmt: skip


def random_state(shape: MuqShape, depth: int, seed: int) -> dict[str, Tensor]:
    """Weights up to layer ``depth`` under their published names, as they are before training.

    The package leaves its modules as PyTorch creates them: weights and biases of linear layers
    and convolutions U(±1/√fan-in) (He et al. 2015, with a = √5), norms 1 and 0, running mean and
    variance 0 and 1. Drawn in the order of the network from one generator on the CPU: fewer
    layers have the same values.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def draw(name: str, *size: int, bias: bool = True) -> None:
        bound = 1 / math.sqrt(math.prod(size[1:]))
        for part, wanted in (("weight", size), ("bias", size[:1] if bias else ())):
            if wanted:
                value = torch.empty(wanted).uniform_(-bound, bound, generator=generator)
                state[f"{name}.{part}"] = value

    def norm(name: str, size: int, running: bool = False) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(size), torch.zeros(size)
        if running:
            state[f"{name}.running_mean"] = torch.zeros(size)
            state[f"{name}.running_var"] = torch.ones(size)
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    dim, channels = shape.dim, shape.channels
    for block, into in enumerate((1, channels)):
        name = f"model.conv.conv.{block}"
        for i, before in enumerate((into, channels, into), 1):
            draw(f"{name}.conv{i}", channels, before, 3, 3)
            norm(f"{name}.bn{i}", channels, running=True)
    draw("model.conv.linear", dim, channels * shape.n_mels // 4)
    norm("model.conformer.layer_norm", dim)
    for name in (f"model.conformer.layers.{i}" for i in range(depth)):
        for part in ("ffn1", "ffn2"):
            norm(f"{name}.{part}_layer_norm", dim)
            draw(f"{name}.{part}.intermediate_dense", shape.hidden, dim)
            draw(f"{name}.{part}.output_dense", dim, shape.hidden)
        norm(f"{name}.self_attn_layer_norm", dim)
        for part in ("linear_q", "linear_k", "linear_v", "linear_out"):
            draw(f"{name}.self_attn.{part}", dim, dim)
        conv = f"{name}.conv_module"
        norm(f"{conv}.layer_norm", dim)
        draw(f"{conv}.pointwise_conv1", 2 * dim, dim, 1, bias=False)
        draw(f"{conv}.depthwise_conv", dim, 1, shape.kernel, bias=False)
        norm(f"{conv}.batch_norm", dim, running=True)
        draw(f"{conv}.pointwise_conv2", dim, dim, 1, bias=False)
        norm(f"{name}.final_layer_norm", dim)
    return state
