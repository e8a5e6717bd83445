"""MuQ as an encoder: music representations learned with Mel-RVQ targets (Zhu et al. 2025).

24 kHz, 25 frames a second: a frame every 960 samples, while the first of its four hops of 240 is
there. Layers: ``"0"`` is the output of the convolutional stem, ``"1"`` to ``"12"`` the outputs of
the conformer layers, the last one after the final layer norm; as ``hidden_states`` of the authors'
package. The log-mel front end is normalised with fixed statistics: it hears loudness.

The mel window mirrors the audio at its ends, so at least 1025 samples (43 ms) are needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pianoeval.checkpoints import load_state, open_checkpoint, read_config, strict_load
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.muq.config import (
    DEFAULT_CONFIG,
    HOP,
    SAMPLE_RATE_HZ,
    MuqShape,
    random_state,
    read_shape,
)
from pianoeval.encoders.muq.net import WINDOW, MuqNet
from pianoeval.encoders.muq.weights import MuqWeights
from pianoeval.encoders.settings import (
    checkpoint_fields,
    overlap_frames,
)
from pianoeval.encoders.taps import Taps
from pianoeval.errors import ConfigError
from pianoeval.params import CheckpointParams

CODE_VERSION = 1
RANDOM_VERSION = 1
PERIOD = 4 * HOP
MAX_CHUNK_S = 60.0  # a forward pass takes 30 MB a second in float32
# What a checkpoint holds beside the encoder: targets and heads of the training, a class token, and
# parts of transformers' encoder that this one does not run or computes.
UNUSED = (
    "model.cls_token", "model.linear.", "model.quantizer_", "model.recon_proj.", "model.rvq.",
    "model.conformer.embed_positions.", "model.conformer.pos_conv_embed.",
)  # fmt: skip


def muq_spec(params: CheckpointParams, name: str = "muq") -> EncoderSpec:
    """Specification; ``chunk_s`` is rounded to whole frames of 40 ms.

    Raises
    ------
    ConfigError
        An unknown layer, chunks out of range, or a configuration that is not supported.
    MissingAssetError
        The checkpoint has not been fetched.
    """
    shape = _shape(params, name)
    frames = round(params.chunk_s * SAMPLE_RATE_HZ / PERIOD)
    shortest = 2 * PERIOD / SAMPLE_RATE_HZ  # as long as the mel window needs
    if not shortest <= params.chunk_s <= MAX_CHUNK_S:
        raise ConfigError(
            f"chunk_s is {params.chunk_s:g}", where=f"encoders.{name}",
            allowed=f"{shortest:g} to {MAX_CHUNK_S:g}", next_step="edit params.yaml",
        )  # fmt: skip
    names = [str(i) for i in range(shape.n_layers + 1)]
    return EncoderSpec(
        **checkpoint_fields(params, name, names, RANDOM_VERSION),
        kind="muq",
        sample_rate_hz=SAMPLE_RATE_HZ,
        chunk_samples=frames * PERIOD,
        period_samples=PERIOD,
        min_samples=WINDOW // 2 + 1,
        span_samples=HOP,
        dim=shape.dim,
        code_version=CODE_VERSION,
        overlap_frames=overlap_frames(params, name, SAMPLE_RATE_HZ / PERIOD, frames),
    )


class MuqEncoder(Encoder):
    """MuQ, from a checkpoint or drawn at random.

    In bfloat16 are convolutions, linear layers and attention (softmax inside it is float32); mel
    front end, layer norms, rotary positions and residual stream stay float32. float16 is not
    offered: its authors report NaN.

    Raises
    ------
    MissingAssetError
        The checkpoint has not been fetched.
    ConfigError
        A configuration that is not supported.
    CorruptDataError
        A parameter is missing, unexpected or misshapen.
    """

    masked = True

    def __init__(self, params: CheckpointParams, name: str = "muq") -> None:
        self.spec = muq_spec(params, name)
        self.device = torch.device(params.device)
        shape = _shape(params, name)
        self._taps = Taps(self.spec)
        depth = self._taps.depth  # layers after the last wanted one are not run
        weights = load_weights(params, name, shape, depth)
        dtype = torch.bfloat16 if params.precision == "bfloat16" else torch.float32
        self._net = MuqNet(shape, weights, dtype, fast=params.device == "cpu").to(self.device)

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        length = chunks.shape[1]
        lengths = None if min(n_samples) == length else list(n_samples)
        tap, out = self._taps.open(chunks)
        self._net(chunks, lengths, tap)
        return out


def load_weights(params: CheckpointParams, name: str, shape: MuqShape, depth: int) -> MuqWeights:
    """Parameters up to layer ``depth``, from the checkpoint or drawn.

    Raises
    ------
    CorruptDataError
        A parameter is missing, unexpected or misshapen.
    """
    with torch.device("meta"):
        weights = MuqWeights(shape, depth)
    weights = weights.to_empty(device="cpu")
    if params.weights == "random":
        strict_load(weights, random_state(shape, depth, params.seed), "random weights")
        return weights
    checkpoint = open_checkpoint(params, name)
    later = [f"model.conformer.layers.{i}." for i in range(depth, shape.n_layers)]
    strict_load(weights, load_state(checkpoint), f"encoders.{name}", ignored=(*UNUSED, *later))
    return weights


def _shape(params: CheckpointParams, name: str) -> MuqShape:
    if params.weights == "random":
        return read_shape(DEFAULT_CONFIG, f"encoders.{name}")
    return read_shape(read_config(params, name), f"encoders.{name}")
