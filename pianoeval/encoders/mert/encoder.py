"""MERT as an encoder: a HuBERT trained on music (Li et al., ICLR 2024).

24 kHz; each chunk is brought to mean 0 and variance 1, as by Wav2Vec2FeatureExtractor with
``do_normalize`` (``(x - mean) / sqrt(variance + 1e-7)``): it does not hear loudness. One frame
every 320 samples sees 400 of them; 10 s are 749 frames.

Layers: ``"0"`` is the input of the first transformer layer, ``"1"`` to ``"12"`` (24 in the 330M
model) the layers' outputs, as ``hidden_states`` of transformers; with ``do_stable_layer_norm``
(330M) the last one has passed the final layer norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pianoeval.checkpoints import (
    load_state,
    open_checkpoint,
    read_config,
    read_preprocessor,
    strict_load,
)
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.mert.config import (
    DEFAULT_CONFIG,
    SAMPLE_RATE_HZ,
    random_state,
    read_normalise,
    read_shape,
)
from pianoeval.encoders.mert.convolutions import HubertShape
from pianoeval.encoders.mert.net import HubertNet
from pianoeval.encoders.settings import (
    checkpoint_fields,
    overlap_frames,
)
from pianoeval.encoders.taps import Taps
from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.params import CheckpointParams

CODE_VERSION = 1
RANDOM_VERSION = 1
_POSITIONS = "encoder.pos_conv_embed.conv"
# PyTorch 2.1 renamed what a weight norm consists of; loaders that did not know drew it anew.
_SPELLINGS = {
    f"{_POSITIONS}.parametrizations.weight.original0": f"{_POSITIONS}.weight_g",
    f"{_POSITIONS}.parametrizations.weight.original1": f"{_POSITIONS}.weight_v",
}


def mert_spec(params: CheckpointParams, name: str = "mert") -> EncoderSpec:
    """Specification; ``chunk_s`` is rounded to whole periods of 320 samples.

    Raises
    ------
    ConfigError
        An unknown layer, chunks of no frame, or a configuration that is not supported.
    MissingAssetError
        The checkpoint has not been fetched.
    """
    shape = _shape(params, name)
    _normalise(params, name)
    period, span = shape.period, shape.span
    chunk = round(params.chunk_s * SAMPLE_RATE_HZ / period) * period
    if chunk < span:
        least = -(-span // period) * period / SAMPLE_RATE_HZ
        raise ConfigError(
            f"chunk_s is {params.chunk_s:g}", where=f"encoders.{name}",
            allowed=f"at least {least:.3f}", next_step="edit params.yaml",
        )  # fmt: skip
    names = [str(i) for i in range(shape.n_layers + 1)]
    frames = (chunk - span) // period + 1
    return EncoderSpec(
        **checkpoint_fields(params, name, names, RANDOM_VERSION),
        kind="mert",
        sample_rate_hz=SAMPLE_RATE_HZ,
        chunk_samples=chunk,
        period_samples=period,
        min_samples=span,
        dim=shape.dim,
        code_version=CODE_VERSION,
        span_samples=span,
        overlap_frames=overlap_frames(params, name, SAMPLE_RATE_HZ / period, frames),
    )


class MertEncoder(Encoder):
    """MERT, from a checkpoint or drawn at random.

    In bfloat16 are the convolutions but the first, matrix products and attention; normalisation
    of the waveform (float64), first convolution, norms and residual stream stay as in float32.

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

    def __init__(self, params: CheckpointParams, name: str = "mert") -> None:
        self.spec = mert_spec(params, name)
        self.device = torch.device(params.device)
        shape, self._normalise = _shape(params, name), _normalise(params, name)
        self._taps = Taps(self.spec)
        depth = self._taps.depth  # layers after the last wanted one are not run
        net = HubertNet(shape, depth)
        if params.weights == "random":
            strict_load(net, random_state(shape, depth, params.seed), "random weights")
        else:
            checkpoint = open_checkpoint(params, name)
            load_weights(net, load_state(checkpoint), f"encoders.{name}")
        dtype = torch.bfloat16 if params.precision == "bfloat16" else torch.float32
        self._net = net.prepare(dtype).to(self.device)

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        length = chunks.shape[1]
        lengths = None if min(n_samples) == length else list(n_samples)
        tap, out = self._taps.open(chunks)
        audio = standardise(chunks, lengths) if self._normalise else chunks
        self._net(audio, lengths, tap)
        return out


def standardise(audio: Tensor, n_samples: Sequence[int] | None) -> Tensor:
    """``(x - mean) / sqrt(variance + 1e-7)`` of each row, on its own length.

    Parameters
    ----------
    audio : Tensor, shape (batch, samples)
        Zeros behind the end of a row.
    n_samples : sequence of int or None
        Length of each row, where one is shorter; zeros stay behind it.
    """
    x = audio.double()
    if n_samples is None:
        x = x - x.mean(1, keepdim=True)
        return (x * (x.square().mean(1, keepdim=True) + 1e-7).rsqrt()).float()
    count = torch.tensor(n_samples).to(audio.device)[:, None]
    x = x - x.sum(1, keepdim=True) / count
    x = x * (torch.arange(x.shape[1], device=x.device) < count)
    return (x * (x.square().sum(1, keepdim=True) / count + 1e-7).rsqrt()).float()


def load_weights(net: HubertNet, state: Mapping[str, Tensor], where: str) -> None:
    """All parameters that ``net`` has, in either spelling of the weight norm.

    Layers after the last wanted one, and the embedding of masked frames, are not used.

    Raises
    ------
    CorruptDataError
        A parameter is missing, unexpected, misshapen, or there in both spellings.
    """
    if twice := [old for new, old in _SPELLINGS.items() if new in state and old in state]:
        raise CorruptDataError(
            f"the weights hold a parameter in two spellings: {', '.join(twice)}", where=where,
            next_step="take another copy of the weights",
        )  # fmt: skip
    renamed = {_SPELLINGS.get(name, name): value for name, value in state.items()}
    depth, n_layers = len(net.encoder.layers), net.shape.n_layers
    later = [f"encoder.layers.{i}." for i in range(depth, n_layers)]
    strict_load(net, renamed, where, ignored=("masked_spec_embed", *later))


def _shape(params: CheckpointParams, name: str) -> HubertShape:
    if params.weights == "random":
        return read_shape(DEFAULT_CONFIG, f"encoders.{name}")
    return read_shape(read_config(params, name), f"encoders.{name}")


def _normalise(params: CheckpointParams, name: str) -> bool:
    if params.weights == "random":
        return True
    return read_normalise(read_preprocessor(params, name), f"encoders.{name}")
