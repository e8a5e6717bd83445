"""Forward pass of Transkun 2.0 over its published weights, up to the frame context.

Yujia Yan and Zhiyao Duan, "Scoring Time Intervals using Non-Hierarchical Transformer for
Automatic Piano Transcription", ISMIR 2024. The architecture and the weights are theirs: MIT
License, Copyright (c) 2021 Yujia Yan; the notice is kept in
:mod:`pianoeval.encoders.transkun.weights`. This is an own implementation: the published package
is not needed.

Audio at 44.1 kHz becomes log-mel spectra under six windows every 1024 samples; a convolutional
stem makes one step of eight such hops; six blocks of axial attention (along frequency, then
along time) run over 149 tokens of 256 values a step: 1 aggregation token, 58 mel patches and 90
events (sustain pedal, soft pedal, keys A0 to C8). Of these 56 steps for 10 s, the first is an
aggregation step and is dropped from every output.

On a CPU the rows of the residual stream pass through a block's linear layers in tiles that stay
in the processor's cache, and the linear layers call oneDNN, which applies GELU on the way out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pianoeval.encoders.linear import linear
from pianoeval.errors import CorruptDataError

SAMPLE_RATE_HZ = 44_100
HOP = 1024
WINDOW = 4096
PATCH = 8  # hops a step
DIM = 256
N_HEADS = 8
N_LAYERS = 6
N_MELS = 229
EVENTS = (-64, -67, *range(21, 109))  # CC 64 (sustain), CC 67 (soft), MIDI keys 21..108
_EPS = 1e-5


def rms_norm(x: Tensor) -> Tensor:
    """``x / sqrt(mean(x^2) + 1e-6)`` along the last axis."""
    square: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
    return x * square.mul_(1.0 / x.shape[-1]).add_(1e-6).rsqrt_()


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Multi-head attention without projections; all (batch, length, dim), strided or not."""

    def split(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], N_HEADS, -1).transpose(1, 2)

    heard = F.scaled_dot_product_attention(split(query), split(key), split(value))
    return heard.transpose(1, 2).flatten(2)


class _PositionEmbedding(nn.Module):
    """Learned Fourier features of coordinates, then two linear layers."""

    def __init__(self, dim: int, n_coordinates: int) -> None:
        super().__init__()
        self.proj = nn.Linear(n_coordinates, dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Identity(), nn.Linear(4 * dim, dim)
        )

    def forward(self, *axes: Tensor) -> Tensor:
        phase = self.proj(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1))
        embedded: Tensor = self.mlp(torch.cos(phase) / math.sqrt(phase.shape[-1] / 2))
        return embedded


class FrontEnd(nn.Module):
    """Gain-normalised log-mel spectra under a Hann and five learned Gaussian windows."""

    mel: Tensor
    windows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mel", torch.empty(WINDOW // 2 + 1, N_MELS))
        self.register_buffer("windows", torch.empty(6, WINDOW))

    @cached_property
    def heard_bins(self) -> tuple[int, int]:
        """First and last-plus-one bin of which any band hears; asked when weights are loaded."""
        bins = self.mel.abs().sum(1).nonzero()
        return int(bins[0]), int(bins[-1]) + 1

    def forward(self, audio: Tensor) -> Tensor:
        """Audio (batch, samples) to (batch, 6, ceil(samples / 1024) + 1, 229).

        Gain and offset are taken out per item over the overlapping windows, as in training.
        """
        n_frames = math.ceil(audio.shape[-1] / HOP) + 1
        right = (n_frames - 1) * HOP + WINDOW // 2 - audio.shape[-1]
        frames = F.pad(audio, (WINDOW // 2, right)).unfold(-1, WINDOW, HOP)
        std, mean = torch.std_mean(frames, (1, 2), keepdim=True)
        frames = (frames - mean) / (std + 1e-8)
        low, high = self.heard_bins
        mel = self.mel[low:high]
        spectra = []
        for window in self.windows:  # one at a time bounds memory
            spectrum = torch.fft.rfft(frames * window, norm="ortho")[..., low:high]
            spectra.append((spectrum.real.square() + spectrum.imag.square()) @ mel)
        return (torch.stack(spectra, 1).add_(_EPS).log_() - math.log(_EPS)) / -math.log(_EPS)


class _Axis(nn.Module):
    """Attention along one axis and a feed-forward layer, LayerScale folded into the weights.

    Queries read the RMS-normed stream, keys and values the raw block input: a quirk of the
    original that the weights were trained with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(DIM, DIM, bias=False)
        self.out = nn.Linear(DIM, DIM)
        self.up = nn.Linear(DIM, 4 * DIM)
        self.down = nn.Linear(4 * DIM, DIM)

    def ask(self, rows: Tensor) -> Tensor:
        """Queries of rows of the stream."""
        return linear(rms_norm(rows).to(self.query.weight.dtype), self.query.weight)

    def update(self, rows: Tensor, heard: Tensor) -> None:
        """Add attention and feed-forward output to ``rows`` (float32), in place."""
        rows += linear(heard, self.out.weight, self.out.bias)
        normed = rms_norm(rows).to(heard.dtype)
        hidden = linear(normed, self.up.weight, self.up.bias, then="gelu")
        rows += linear(hidden, self.down.weight, self.down.bias)


class _Block(nn.Module):
    """Axial attention: along frequency, then along time."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.Linear(DIM, 4 * DIM, bias=False)  # key, value of frequency, then of time
        self.freq, self.time = _Axis(), _Axis()

    def forward(self, x: Tensor, scratch: Tensor) -> None:
        """Update ``x`` (batch, steps, tokens, dim) float32 in place; ``scratch`` (rows, 5 dim)."""
        batch, steps, tokens, _ = x.shape
        rows, query, memory = x.view(-1, DIM), scratch[:, :DIM], scratch[:, DIM:]
        for tile in _tiles(rows, scratch.dtype):
            memory[tile] = linear(rows[tile].to(scratch.dtype), self.memory.weight)
            query[tile] = self.freq.ask(rows[tile])
        grid = memory.view(batch, steps, tokens, 4, DIM)
        key, value = grid[..., 0, :].flatten(0, 1), grid[..., 1, :].flatten(0, 1)
        heard = attend(query.view(batch * steps, tokens, DIM), key, value).flatten(0, 1)
        for tile in _tiles(rows, scratch.dtype):
            self.freq.update(rows[tile], heard[tile])
            query[tile] = self.time.ask(rows[tile])
        queries = query.view(batch, steps, tokens, DIM)
        for item in range(batch):
            q, k, v = queries[item], grid[item, ..., 2, :], grid[item, ..., 3, :]
            heard = attend(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1))
            heard = heard.transpose(0, 1).reshape(-1, DIM)
            own = x[item].view(-1, DIM)
            for tile in _tiles(own, scratch.dtype):
                self.time.update(own[tile], heard[tile])


def _tiles(rows: Tensor, dtype: torch.dtype) -> Iterator[slice]:
    """Slices whose hidden layer (4 dim wide) fits in about 1 MB of cache; all rows on a GPU."""
    size = 298 if dtype == torch.float32 else 596
    if rows.device.type != "cpu":
        size = len(rows)
    for begin in range(0, len(rows), size):
        yield slice(begin, begin + size)


class TranskunNet(nn.Module):
    """Audio to residual streams.

    Parameters
    ----------
    state : mapping
        Weights as :func:`pianoeval.encoders.transkun.weights.convert_state` lays them out.
    max_samples : int
        Longest input; its position embeddings are computed once, shorter input takes a prefix.
    dtype : torch.dtype
        Arithmetic of convolutions, linear layers and attention; the residual stream and the
        front end stay float32.

    Raises
    ------
    CorruptDataError
        Missing, unexpected or misshapen weights.
    """

    mel_position: Tensor
    position: Tensor

    def __init__(self, state: Mapping[str, Tensor], max_samples: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.front = FrontEnd()
        self.posEmbedBuilder = _PositionEmbedding(64, 1)
        self.inputConv = nn.Conv2d(6, 64, 3, padding=1)
        self.downConv = _stem()
        self.posEmbedBuilderAttnTF = _PositionEmbedding(DIM, 2)
        self.posEmbedBuilderAttnTE = _PositionEmbedding(DIM, 2)
        self.encoderLayers = nn.ModuleList(_Block() for _ in range(N_LAYERS))
        self.upConv1dSkip = nn.ConvTranspose1d(DIM, DIM, PATCH, stride=PATCH)
        try:
            self.load_state_dict(dict(state), strict=True)
        except RuntimeError as error:
            raise CorruptDataError(f"weights do not fit Transkun 2.0: {error}") from error
        self.eval().requires_grad_(False)
        _ = self.front.heard_bins  # now: asked in a forward pass, a GPU would be waited for
        with torch.inference_mode():
            at_mel = self.posEmbedBuilder(torch.arange(N_MELS).float()).T[:, None]
            self.register_buffer("mel_position", at_mel, persistent=False)
            at_token = self._positions(n_steps(max_samples) + 1)
            self.register_buffer("position", at_token, persistent=False)
        for part in (self.inputConv, self.downConv, self.encoderLayers):
            part.to(dtype=dtype)
        self.inputConv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.downConv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dtype = dtype

    def _positions(self, steps: int) -> Tensor:
        """(steps, tokens, dim): of mel patches with the aggregation token, then of events."""
        times, bands = torch.arange(steps).float(), torch.arange(self.n_bands).float()
        patches = self.posEmbedBuilderAttnTF(times, bands)
        events = self.posEmbedBuilderAttnTE(times, torch.tensor(EVENTS).float())
        return torch.cat([patches, events], 1)

    @property
    def n_bands(self) -> int:
        """Aggregation token and mel patches: the stem halves 232 padded mels twice."""
        return 1 + (N_MELS + 3) // 4

    def stem(self, audio: Tensor) -> Tensor:
        """Audio (batch, samples) to the input of the first block, (batch, steps, tokens, dim)."""
        mel = self.front(audio).to(self.dtype).contiguous(memory_format=torch.channels_last)
        h = self.downConv(self.inputConv(mel).add_(self.mel_position.to(self.dtype)))
        h = h.permute(0, 2, 3, 1)
        x = self.position[: h.shape[1] + 1].repeat(len(h), 1, 1, 1)
        x[:, 1:, 1 : self.n_bands] += h  # step 0 and token 0 aggregate: their content is 0
        return x

    def forward(self, audio: Tensor, depth: int, tap: Callable[[int, Tensor], None]) -> None:
        """Run ``depth`` blocks; ``tap(i, x)`` is shown the stream after block ``i`` (1, 2, ...).

        ``x`` is (batch, steps, tokens, dim) without the aggregation step, and is overwritten by
        the next block.
        """
        x = self.stem(audio)
        scratch = torch.empty(x.numel() // DIM, 5 * DIM, dtype=self.dtype, device=x.device)
        for i, block in enumerate(self.encoderLayers[:depth]):
            block(x, scratch)
            tap(i + 1, x[:, 1:])


def n_steps(n_samples: int) -> int:
    """Steps the network makes of ``n_samples``; the last may lie past the end of the audio."""
    return (math.ceil(n_samples / HOP) + 1 + 7 + PATCH - 1) // PATCH


def _stem() -> nn.Sequential:
    layers: list[nn.Module] = [nn.ConstantPad2d((2, 1, 4, 3), 0.0)]
    plan = ((64, 128, (2, 1)), (128, 256, (2, 2)), (256, 256, (2, 2)), (256, 256, (1, 1)))
    for i, (c_in, c_out, stride) in enumerate(plan):
        layers += [nn.Conv2d(c_in, c_out, 3, stride, 1), nn.GroupNorm(4, c_out)]
        if i < len(plan) - 1:  # Identity stands where training had dropout, to keep the numbering
            layers += [nn.GELU(), nn.Identity()]
    return nn.Sequential(*layers)
