"""What MERT's ``config.json`` may say, and its weights before training.

Names, defaults and meaning of the flags are those of the authors' modelling code (repository
yizhilll/MERT, scripts/mert_hf):

* ``attention_relax`` divides the scores by a number, takes the largest of each query's row away
  and multiplies by the number again. Softmax does not see a constant taken off a row, so any value
  is accepted and nothing is computed. (There it acts only together with deepnorm, and fails:
  ``torch.max(..., dim)`` has no ``unsqueeze``.)
* ``deepnorm`` weights each residual by (2 layers)^(1/4); not with ``do_stable_layer_norm``.
* ``feature_extractor_cqt`` appends a constant-Q transform at 50 frames a second, which fits the
  convolutions' frame rate at 16 kHz only: refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pianoeval.encoders.mert.convolutions import HubertShape
from pianoeval.encoders.settings import check_sizes
from pianoeval.errors import ConfigError

SAMPLE_RATE_HZ = 24_000
DEFAULT_CONFIG: dict[str, Any] = {  # MERT-v1-95M
    "sample_rate": SAMPLE_RATE_HZ,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}
_FLAGS: dict[str, Any] = {  # where config.json is silent
    "feature_extractor_cqt": False,
    "conv_pos_batch_norm": False,
    "adapter_attn_dim": None,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "group",
    "conv_bias": False,
    "feat_proj_layer_norm": True,
    "do_stable_layer_norm": False,
    "deepnorm": False,
    "attention_relax": -1.0,
    "layer_norm_eps": 1e-5,
}
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "sample_rate": (SAMPLE_RATE_HZ,),
    "feature_extractor_cqt": (False,),
    "conv_pos_batch_norm": (False,),
    "adapter_attn_dim": (None,),
    "hidden_act": ("gelu",),
    "feat_extract_activation": ("gelu",),
    "feat_extract_norm": ("group", "layer"),
    "conv_bias": (False, True),
    "feat_proj_layer_norm": (False, True),
    "do_stable_layer_norm": (False, True),
    "deepnorm": (False, True),
}


def read_shape(config: Mapping[str, Any], where: str) -> HubertShape:
    """The network of a ``config.json``.

    Parameters
    ----------
    where : str
        Whose configuration it is, for the message.

    Raises
    ------
    ConfigError
        A size is missing, or a flag has a value that is not supported; it is named.
    """
    if missing := [key for key in DEFAULT_CONFIG if key not in config]:
        raise _error(f"lacks {', '.join(missing)}", where, f"a MERT's {', '.join(DEFAULT_CONFIG)}")
    said = {**_FLAGS, **config}
    check_sizes({key: said[key] for key in DEFAULT_CONFIG}, DEFAULT_CONFIG, where)
    for key, values in _SUPPORTED.items():
        if not any(said[key] is value or said[key] == value for value in values):
            shown = " or ".join(repr(value) for value in values)
            raise _error(f"has {key}: {said[key]!r}", where, f"{key}: {shown}")
    if said["deepnorm"] and said["do_stable_layer_norm"]:
        raise _error(
            "has deepnorm: True and do_stable_layer_norm: True", where, "one of them at most"
        )
    if said["hidden_size"] % said["num_attention_heads"]:
        raise _error(
            f"has hidden_size: {said['hidden_size']}", where,
            f"a multiple of num_attention_heads, {said['num_attention_heads']}",
        )  # fmt: skip
    lengths = {len(said[key]) for key in ("conv_dim", "conv_kernel", "conv_stride")}
    if len(lengths) > 1 or min(lengths) < 2:
        raise _error(
            f"has convolutions of {sorted(lengths)} entries", where,
            "two or more, as many in conv_dim as in conv_kernel and conv_stride",
        )  # fmt: skip
    n_layers = int(said["num_hidden_layers"])
    return HubertShape(
        dim=said["hidden_size"],
        hidden=said["intermediate_size"],
        heads=said["num_attention_heads"],
        n_layers=n_layers,
        channels=tuple(said["conv_dim"]),
        kernels=tuple(said["conv_kernel"]),
        strides=tuple(said["conv_stride"]),
        conv_bias=said["conv_bias"],
        layer_norm_convs=said["feat_extract_norm"] == "layer",
        norm_features=said["feat_proj_layer_norm"],
        norm_first=said["do_stable_layer_norm"],
        alpha=(2 * n_layers) ** 0.25 if said["deepnorm"] else 1.0,
        positions=said["num_conv_pos_embeddings"],
        groups=said["num_conv_pos_embedding_groups"],
        eps=said["layer_norm_eps"],
    )


def read_normalise(preprocessor: Mapping[str, Any], where: str) -> bool:
    """Whether the waveform is normalised, of a ``preprocessor_config.json``; yes if it is silent.

    Raises
    ------
    ConfigError
        Another sample rate, or a flag that is none.
    """
    said = {"do_normalize": True, "sampling_rate": SAMPLE_RATE_HZ, **preprocessor}
    for key, values in (("do_normalize", (True, False)), ("sampling_rate", (SAMPLE_RATE_HZ,))):
        if said[key] not in values:
            shown = " or ".join(repr(value) for value in values)
            raise _error(
                f"has {key}: {said[key]!r}", where, f"{key}: {shown}", "preprocessor_config"
            )
    return bool(said["do_normalize"])


def _error(what: str, where: str, allowed: str, file: str = "config") -> ConfigError:
    return ConfigError(
        f"the checkpoint's {file}.json {what}", where=where, allowed=allowed,
        next_step="choose another MERT with 'model' and 'revision' in params.yaml",
    )  # fmt: skip


def random_state(shape: HubertShape, depth: int, seed: int) -> dict[str, Tensor]:
    """Weights up to layer ``depth`` as they are before training.

    As transformers initialises HuBERT: linear layers N(0, 0.02^2), convolutions over the waveform
    N(0, 2 / fan-in) (He et al. 2015), biases 0, norms 1 and 0. The positional convolution as in
    fairseq, where MERT was trained: N(0, 4 (1 - 0.1) / (taps x dim)), and g = |v|. Drawn in the
    order of the network from one generator on the CPU: fewer layers have the same values.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(std: float, *size: int) -> Tensor:
        return torch.randn(size, generator=generator) * std

    state: dict[str, Tensor] = {}

    def norm(name: str, size: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(size), torch.zeros(size)

    def matrix(name: str, out: int, into: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = normal(0.02, out, into), torch.zeros(out)

    into = 1
    for i, (out, kernel) in enumerate(zip(shape.channels, shape.kernels, strict=True)):
        name = f"feature_extractor.conv_layers.{i}"
        weight = normal(math.sqrt(2 / (into * kernel)), out, into, kernel)
        state[f"{name}.conv.weight"] = weight
        if shape.conv_bias:
            state[f"{name}.conv.bias"] = torch.zeros(out)
        if shape.layer_norm_convs or i == 0:
            norm(f"{name}.layer_norm", out)
        into = out
    if shape.norm_features:
        norm("feature_projection.layer_norm", into)
    dim, taps = shape.dim, shape.positions
    matrix("feature_projection.projection", dim, into)
    v = normal(math.sqrt(4 * 0.9 / (taps * dim)), dim, dim // shape.groups, taps)
    name = "encoder.pos_conv_embed.conv"
    state[f"{name}.weight_v"], state[f"{name}.bias"] = v, torch.zeros(dim)
    state[f"{name}.weight_g"] = v.square().sum((0, 1), keepdim=True).sqrt()
    norm("encoder.layer_norm", dim)
    for name in (f"encoder.layers.{i}" for i in range(depth)):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            matrix(f"{name}.attention.{part}", dim, dim)
        norm(f"{name}.layer_norm", dim)
        matrix(f"{name}.feed_forward.intermediate_dense", shape.hidden, dim)
        matrix(f"{name}.feed_forward.output_dense", dim, shape.hidden)
        norm(f"{name}.final_layer_norm", dim)
    return state
