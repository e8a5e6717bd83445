"""HuBERT (Hsu et al. 2021), for inference; parameters are named as in published checkpoints.

Convolutions over the waveform, a projection, a convolution that adds position, and transformer
layers. The layout follows transformers' ``HubertModel``, against which it is tested; residuals
weighted by alpha (Wang et al., "DeepNet", 2022) follow MERT's published modelling code.

:meth:`HubertNet.prepare` replaces parameters by what is computed with: kernels with their channels
last, q, k and v as one matrix, the weight norm multiplied out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pianoeval.encoders.linear import linear
from pianoeval.encoders.mert.convolutions import Features, HubertShape, frozen

Tap = Callable[[int, Tensor], None]


class _Projection(nn.Module):
    def __init__(self, shape: HubertShape) -> None:
        super().__init__()
        into = shape.channels[-1]
        self.layer_norm = nn.LayerNorm(into, shape.eps) if shape.norm_features else nn.Identity()
        self.projection = nn.Linear(into, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.projection.weight, self.projection.bias
        return linear(self.layer_norm(x.float()).to(weight.dtype), weight, bias).float()


class _NormedConvolution(nn.Module):
    """Parameters of a convolution whose kernel is ``g v / |v|``, |v| over all but the taps."""

    def __init__(self, shape: HubertShape) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.empty(1, 1, shape.positions))
        into = shape.dim // shape.groups
        self.weight_v = nn.Parameter(torch.empty(shape.dim, into, shape.positions))
        self.bias = nn.Parameter(torch.empty(shape.dim))


class _Positions(nn.Module):
    """GELU of a wide grouped convolution over the frames."""

    def __init__(self, shape: HubertShape) -> None:
        super().__init__()
        self.conv = _NormedConvolution(shape)
        self.groups, self.padding = shape.groups, shape.positions // 2

    def prepare(self, dtype: torch.dtype) -> None:
        conv = self.conv
        v = conv.weight_v.double()
        weight = conv.weight_g * v / v.square().sum((0, 1), keepdim=True).sqrt()
        self.weight, self.bias = frozen(weight, dtype), frozen(conv.bias, dtype)
        del self.conv

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, dim) to the same; an even kernel leaves one frame too many."""
        rows = x.mT.to(self.weight.dtype)
        y = F.conv1d(rows, self.weight, self.bias, padding=self.padding, groups=self.groups)
        return F.gelu(y[..., : x.shape[1]]).mT


class _Attention(nn.Module):
    def __init__(self, shape: HubertShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.dim, shape.dim)
        self.k_proj = nn.Linear(shape.dim, shape.dim)
        self.v_proj = nn.Linear(shape.dim, shape.dim)
        self.out_proj = nn.Linear(shape.dim, shape.dim)

    def prepare(self, dtype: torch.dtype) -> None:
        """One matrix for q, k and v."""
        parts = [self.q_proj, self.k_proj, self.v_proj]
        self.weight = frozen(torch.cat([part.weight for part in parts]), dtype)
        self.bias = frozen(torch.cat([part.bias for part in parts]), dtype)
        self.out_proj.to(dtype)
        del self.q_proj, self.k_proj, self.v_proj

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        qkv = linear(x, self.weight, self.bias).view(*x.shape[:2], 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = self.out_proj
        return linear(heard.transpose(1, 2).flatten(2), out.weight, out.bias)


class _FeedForward(nn.Module):
    def __init__(self, shape: HubertShape) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(shape.dim, shape.hidden)
        self.output_dense = nn.Linear(shape.hidden, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        into, out = self.intermediate_dense, self.output_dense
        return linear(linear(x, into.weight, into.bias, then="gelu"), out.weight, out.bias)


class _Layer(nn.Module):
    """Attention and feed-forward layer on a float32 residual stream."""

    def __init__(self, shape: HubertShape) -> None:
        super().__init__()
        self.norm_first, self.alpha = shape.norm_first, shape.alpha
        self.attention = _Attention(shape)
        self.layer_norm = nn.LayerNorm(shape.dim, shape.eps)
        self.feed_forward = _FeedForward(shape)
        self.final_layer_norm = nn.LayerNorm(shape.dim, shape.eps)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        dtype = self.attention.weight.dtype
        if self.norm_first:
            x = x + self.attention(self.layer_norm(x).to(dtype), mask)
            x = x + self.feed_forward(self.final_layer_norm(x).to(dtype))
            return x
        heard = self.attention(x.to(dtype), mask)
        x = self.layer_norm(torch.add(heard, x, alpha=self.alpha))
        x = torch.add(self.feed_forward(x.to(dtype)), x, alpha=self.alpha)
        normed: Tensor = self.final_layer_norm(x)
        return normed


class _Transformer(nn.Module):
    def __init__(self, shape: HubertShape, depth: int) -> None:
        super().__init__()
        self.norm_first, self.n_layers = shape.norm_first, shape.n_layers
        self.pos_conv_embed = _Positions(shape)
        self.layer_norm = nn.LayerNorm(shape.dim, shape.eps)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(depth))

    def forward(self, x: Tensor, kept: Tensor | None, tap: Tap) -> None:
        mask = None
        if kept is not None:  # (batch, frames); dropped frames are what lies around a clip: zero
            x = x.masked_fill(~kept[..., None], 0)
            mask = kept[:, None, None]
        x = x + self.pos_conv_embed(x)
        if not self.norm_first:
            x = self.layer_norm(x)
        tap(0, x)
        for i, layer in enumerate(self.layers, 1):
            x = layer(x, mask)
            tap(i, self.layer_norm(x) if self.norm_first and i == self.n_layers else x)


class HubertNet(nn.Module):
    """The network up to layer ``depth``; create it, load its parameters, ``prepare`` it.

    Parameters
    ----------
    depth : int
        Layers there are; those after the last wanted one are left out.
    """

    def __init__(self, shape: HubertShape, depth: int) -> None:
        super().__init__()
        self.shape = shape
        with torch.device("meta"):  # parameters come from elsewhere: nothing to draw
            self.feature_extractor = Features(shape)
            self.feature_projection = _Projection(shape)
            self.encoder = _Transformer(shape, depth)
        self.to_empty(device="cpu")

    @torch.no_grad()
    def prepare(self, dtype: torch.dtype) -> HubertNet:
        """Parameters as they are computed with.

        Parameters
        ----------
        dtype : torch.dtype
            Of matrices, convolutions and attention. The first convolution, all norms and the
            residual stream are float32 whatever it is.
        """
        for i, layer in enumerate(self.feature_extractor.stack):
            layer.prepare(dtype if i else torch.float32)
        self.feature_projection.projection.to(dtype)
        for module in list(self.encoder.modules()):
            if isinstance(module, _Positions | _Attention):
                module.prepare(dtype)
            elif isinstance(module, _FeedForward):
                module.to(dtype)
        self.dtype = dtype
        return self.eval().requires_grad_(False)

    def forward(self, audio: Tensor, n_samples: Sequence[int] | None, tap: Tap) -> None:
        """Give every hidden state (batch, frames, dim), float32, to ``tap`` with its number.

        State 0 enters the first layer and state i leaves layer i; with ``norm_first`` the last
        one has passed the final layer norm.

        Parameters
        ----------
        audio : float32, shape (batch, samples)
        n_samples : sequence of int or None
            Length of each row, where one is shorter; what lies behind it is not heard.
        """
        features = self.feature_extractor(audio, n_samples, self.dtype)
        kept = None
        if n_samples is not None:
            shape = self.shape
            frames = torch.tensor([(n - shape.span) // shape.period + 1 for n in n_samples])
            numbers = torch.arange(features.shape[1], device=audio.device)
            kept = numbers < frames.to(audio.device)[:, None]
        self.encoder(self.feature_projection(features), kept, tap)
