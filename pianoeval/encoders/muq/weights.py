"""MuQ's parameters, under the names that they have in the published checkpoint.

These modules hold; :mod:`pianoeval.encoders.muq.net` and :mod:`pianoeval.encoders.muq.stem`
compute with what they make of them.
"""

from __future__ import annotations

from torch import nn

from pianoeval.encoders.muq.config import MuqShape


class MuqWeights(nn.Module):
    """All that is needed up to layer ``depth``."""

    def __init__(self, shape: MuqShape, depth: int) -> None:
        super().__init__()
        self.model = _Model(shape, depth)


class _Model(nn.Module):
    def __init__(self, shape: MuqShape, depth: int) -> None:
        super().__init__()
        self.conv = StemWeights(shape)
        self.conformer = ConformerWeights(shape, depth)


class StemWeights(nn.Module):
    """Two residual blocks of convolutions, and a linear layer over channels and bands."""

    def __init__(self, shape: MuqShape) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            ResidualWeights(1, shape.channels), ResidualWeights(shape.channels, shape.channels)
        )
        self.linear = nn.Linear(shape.channels * shape.n_mels // 4, shape.dim)


class ResidualWeights(nn.Module):
    """Two convolutions in turn, and one (the third) beside them."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, out, 3, 2, 1), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        self.conv3, self.bn3 = nn.Conv2d(into, out, 3, 2, 1), nn.BatchNorm2d(out)

    def pairs(self) -> tuple[tuple[nn.Conv2d, nn.BatchNorm2d], ...]:
        """Each convolution with its batch norm."""
        return (self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)


class ConformerWeights(nn.Module):
    """Layers, and the layer norm after the last one."""

    def __init__(self, shape: MuqShape, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LayerWeights(shape) for _ in range(depth))
        self.layer_norm = nn.LayerNorm(shape.dim, eps=shape.eps)


class LayerWeights(nn.Module):
    """One conformer layer."""

    def __init__(self, shape: MuqShape) -> None:
        super().__init__()
        dim = shape.dim
        self.ffn1_layer_norm, self.ffn1 = nn.LayerNorm(dim), FeedForwardWeights(dim, shape.hidden)
        self.self_attn_layer_norm, self.self_attn = nn.LayerNorm(dim), AttentionWeights(dim)
        self.conv_module = ConvolutionWeights(dim, shape.kernel)
        self.ffn2_layer_norm, self.ffn2 = nn.LayerNorm(dim), FeedForwardWeights(dim, shape.hidden)
        self.final_layer_norm = nn.LayerNorm(dim)


class FeedForwardWeights(nn.Module):
    """Two linear layers."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(dim, hidden)
        self.output_dense = nn.Linear(hidden, dim)


class AttentionWeights(nn.Module):
    """Queries, keys, values, output."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear_q, self.linear_k = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.linear_v, self.linear_out = nn.Linear(dim, dim), nn.Linear(dim, dim)


class ConvolutionWeights(nn.Module):
    """Gated pointwise, depthwise and pointwise convolution."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.layer_norm, self.batch_norm = nn.LayerNorm(dim), nn.BatchNorm1d(dim)
        self.pointwise_conv1 = nn.Conv1d(dim, 2 * dim, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(dim, dim, kernel, groups=dim, bias=False)
        self.pointwise_conv2 = nn.Conv1d(dim, dim, 1, bias=False)
