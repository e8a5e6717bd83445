"""Transkun 2.0 as an encoder: the residual stream after each block, summarised over its tokens.

Layers ``"1"`` to ``"6"`` (after each block, 5.383 Hz) are six parts of 256 values::

    aggregation token | mel patches, mean | keys, mean | keys, standard deviation | sustain | soft

Layer ``"ctx"`` is what the published note, velocity and onset heads read: the last stream's
events, projected to the eight 1024-sample hops of a step (43.07 Hz). It is summarised to the
rate and width of the others. Over the eight hops of a step::

    mean of [keys, mean | keys, std | sustain | soft] | std of (keys, mean) | std of (keys, std)

so that modulation within a step is kept. The summaries are ours, not the authors'. All standard
deviations are population ones. The first block's aggregation step is dropped.

Gain and offset of each chunk are taken out by the network's front end: the embedding does not
hear loudness. Level features are therefore stored beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pianoeval.assets import ASSETS
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.layers import parse_layers
from pianoeval.encoders.linear import linear
from pianoeval.encoders.settings import common_fields, overlap_frames, random_options
from pianoeval.encoders.transkun.net import (
    DIM,
    HOP,
    N_LAYERS,
    PATCH,
    SAMPLE_RATE_HZ,
    WINDOW,
    TranskunNet,
)
from pianoeval.encoders.transkun.untrained import VERSION as RANDOM_VERSION
from pianoeval.encoders.transkun.untrained import random_state
from pianoeval.encoders.transkun.weights import ASSET, convert_state, load_state
from pianoeval.errors import ConfigError
from pianoeval.params import TranskunParams

CODE_VERSION = 1
LAYERS = (*(str(i + 1) for i in range(N_LAYERS)), "ctx")
EMBEDDING_DIM = 6 * DIM
PERIOD = HOP * PATCH
MAX_CHUNK_S = 16.0  # the length the network was trained on
_STEPS_A_TILE = 2  # 2 steps x 90 events x 2048 values: 1.5 MB


def transkun_spec(params: TranskunParams, name: str = "transkun") -> EncoderSpec:
    """Specification, without loading anything.

    ``chunk_s`` is rounded to whole steps of 8192 samples, so that chunks tile without overlap:
    10 s becomes 54 steps, 10.031 s.

    Raises
    ------
    ConfigError
        An unknown layer, or chunks longer than 16 s.
    """
    if not PERIOD / SAMPLE_RATE_HZ <= params.chunk_s <= MAX_CHUNK_S:
        raise ConfigError(
            f"chunk_s is {params.chunk_s:g}", where=f"encoders.{name}",
            allowed=f"{PERIOD / SAMPLE_RATE_HZ:.3f} to {MAX_CHUNK_S:g} (trained on 16 s)",
            next_step="edit params.yaml",
        )  # fmt: skip
    steps = round(params.chunk_s * SAMPLE_RATE_HZ / PERIOD)
    trained = params.weights == "pretrained"
    asset = ASSETS[ASSET]
    return EncoderSpec(
        kind="transkun",
        sample_rate_hz=SAMPLE_RATE_HZ,
        chunk_samples=steps * PERIOD,
        period_samples=PERIOD,
        min_samples=WINDOW,
        layer_names=tuple(LAYERS[i] for i in parse_layers(params.layers, LAYERS)),
        dim=EMBEDDING_DIM,
        weights_sha256=asset.sha256 if trained else "",
        weights_source=f"{asset.package} {asset.version}" if trained else f"random, {params.seed}",
        code_version=CODE_VERSION,
        options=random_options(params, RANDOM_VERSION),
        overlap_frames=overlap_frames(params, name, SAMPLE_RATE_HZ / PERIOD, steps),
        **common_fields(params, name),
    )


class TranskunEncoder(Encoder):
    """Transkun 2.0, from the fetched weights; or as it is before training, without them.

    Raises
    ------
    MissingAssetError
        The weights are wanted and have not been fetched, or have another hash.
    CorruptDataError
        A parameter is missing, unexpected or misshapen.
    """

    def __init__(self, params: TranskunParams, name: str = "transkun") -> None:
        self.spec = transkun_spec(params, name)
        self.device = torch.device(params.device)
        state = load_state() if params.weights == "pretrained" else random_state(params.seed)
        dtype = torch.bfloat16 if params.precision == "bfloat16" else torch.float32
        net = TranskunNet(convert_state(state), self.spec.chunk_samples, dtype)
        self.net = net.to(self.device)
        self._columns = {layer: i for i, layer in enumerate(self.spec.layer_names)}
        wanted = [N_LAYERS if layer == "ctx" else int(layer) for layer in self._columns]
        self._depth = max(wanted)  # blocks after the last wanted one are not run
        up = net.upConv1dSkip  # kernel = stride = 8: one matrix (hop, dim) x dim a step
        self._up = up.weight.permute(2, 1, 0).reshape(PATCH * DIM, DIM).to(dtype).contiguous()
        bias = up.get_parameter("bias")
        self._up_bias = bias.repeat(PATCH).to(dtype)

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        frames = self.spec.n_frames(chunks.shape[1])
        shape = (len(chunks), frames, len(self._columns), EMBEDDING_DIM)
        out = torch.empty(shape, device=self.device)

        def tap(depth: int, stream: Tensor) -> None:
            stream = stream[:, :frames]  # a last step that starts past the end is dropped
            if (column := self._columns.get(str(depth))) is not None:
                summarise_stream(stream, self.net.n_bands, out[:, :, column])
            if depth == N_LAYERS and (column := self._columns.get("ctx")) is not None:
                self._context(stream[:, :, self.net.n_bands :], out[:, :, column])

        self.net(chunks, self._depth, tap)
        return out

    def _context(self, events: Tensor, out: Tensor) -> None:
        """Write the summary of ``ctx`` for events (batch, steps, 90, dim)."""
        for item in range(len(events)):
            for begin in range(0, events.shape[1], _STEPS_A_TILE):
                part = events[item, begin : begin + _STEPS_A_TILE]
                rows = part.reshape(-1, DIM).to(self._up.dtype)
                hops = linear(rows, self._up, self._up_bias).float()
                hops = hops.view(*part.shape[:2], PATCH, DIM)
                out[item, begin : begin + _STEPS_A_TILE] = summarise_hops(hops)


def summarise_stream(stream: Tensor, n_bands: int, out: Tensor) -> None:
    """Write [aggregation | mel mean | key mean | key std | sustain | soft].

    Parameters
    ----------
    stream : Tensor, shape (batch, steps, tokens, 256)
        Aggregation token, mel patches, sustain, soft, keys.
    out : Tensor, shape (batch, steps, 1536)
    """
    mean, std = _mean_std(stream[:, :, n_bands + 2 :], 2)
    patches = stream[:, :, 1:n_bands].mean(2)
    sustain, soft = stream[:, :, n_bands], stream[:, :, n_bands + 1]
    torch.cat([stream[:, :, 0], patches, mean, std, sustain, soft], -1, out=out)


def summarise_hops(hops: Tensor) -> Tensor:
    """Events at the hop rate, (steps, 90, 8, 256), to (steps, 1536); see the module's head."""
    mean, std = _mean_std(hops[:, 2:], 1)
    over_hops = [x.mean(1) for x in (mean, std, hops[:, 0], hops[:, 1])]
    return torch.cat([*over_hops, _mean_std(mean, 1)[1], _mean_std(std, 1)[1]], -1)


def _mean_std(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation, in two passes for precision."""
    mean = x.mean(axis, keepdim=True)
    return mean.squeeze(axis), (x - mean).square_().mean(axis).sqrt_()
