"""Forward passes of encoders that gradients can go through.

The encoders' own passes are for inference: they write into their inputs, and on a CPU they call
oneDNN's fused linear layer, through which PyTorch lets gradients vanish without an error. Here the
same modules run from the first layer on without either. What lies before the layers (spectrograms,
convolutions, positions) stays frozen and is the encoders' own. Frames agree with
:meth:`~pianoeval.encoders.base.Encoder.encode` up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.mert.encoder import MertEncoder, standardise
from pianoeval.encoders.muq.encoder import MuqEncoder
from pianoeval.encoders.muq.fused_linear import FusedLinear
from pianoeval.encoders.transkun.encoder import TranskunEncoder
from pianoeval.encoders.transkun.net import N_LAYERS, attend
from pianoeval.errors import ConfigError

_TINY = 1e-12  # of a variance, below which a standard deviation has no gradient
_EPS = 1e-6  # of Transkun's RMS norm


class Differentiable(nn.Module):
    """An encoder's network, from audio to the wanted layers' frames.

    Attributes
    ----------
    encoder : Encoder
        Whose modules these are.
    kinds : dict of tuple of str
        Ends of the names of matrices, by what they belong to.
    """

    kinds: ClassVar[dict[str, tuple[str, ...]]]

    def __init__(self, encoder: Encoder, net: nn.Module) -> None:
        super().__init__()
        self.encoder, self.net = encoder, net.requires_grad_(False)
        self.wanted = {layer: i for i, layer in enumerate(encoder.spec.layer_names)}

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def matrices(self, targets: Sequence[str]) -> dict[str, Tensor]:
        """Matrices (out, in) of the layers that run, of the kinds ``targets``."""
        ends = tuple(f".{end}.weight" for target in targets for end in self.kinds[target])
        places = self.places()
        return {
            name: value for name, value in self.tensors().items()
            if name.endswith(ends) and name.startswith(places)
        }  # fmt: skip

    def places(self) -> tuple[str, ...]:
        """Beginnings of the names of what is in the layers that run."""
        raise NotImplementedError

    def states(self, audio: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Every layer up to the last wanted one, (batch, frames, dim), with its name."""
        raise NotImplementedError

    def forward(self, audio: Tensor) -> Tensor:
        """float32 audio (batch, samples), rows of one length, to (batch, frames, layers, dim)."""
        frames = self.encoder.spec.n_frames(audio.shape[1])
        found = [state[:, :frames] for name, state in self.states(audio) if name in self.wanted]
        return torch.stack(found, 2)


class _Transkun(Differentiable):
    kinds: ClassVar = {
        "attention": ("memory", "freq.query", "freq.out", "time.query", "time.out"),
        "feed_forward": ("freq.up", "freq.down", "time.up", "time.down"),
    }

    def __init__(self, encoder: TranskunEncoder) -> None:
        super().__init__(encoder, encoder.net)
        if "ctx" in self.wanted:
            raise ConfigError(
                "layer 'ctx' cannot be adapted", where=f"encoders.{encoder.spec.name}",
                allowed=f"layers 1 to {N_LAYERS}", next_step="edit lora.layers in params.yaml",
            )  # fmt: skip
        self.depth = max(int(layer) for layer in self.wanted)

    def places(self) -> tuple[str, ...]:
        return tuple(f"net.encoderLayers.{i}." for i in range(self.depth))

    def states(self, audio: Tensor) -> Iterator[tuple[str, Tensor]]:
        net: Any = self.net
        with torch.no_grad():
            x = net.stem(audio)
        for number, block in enumerate(net.encoderLayers[: self.depth], 1):
            x = _axial(block, x, net.dtype)
            yield str(number), _summary(x[:, 1:], net.n_bands)


def _axial(block: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
    """A block of Transkun; keys and values of both axes are of the block's input."""
    batch, steps, tokens, dim = x.shape
    parts = F.linear(x.to(dtype), block.memory.weight).chunk(4, -1)
    query = _ask(block.freq, x, dtype)
    heard = attend(*(part.reshape(batch * steps, tokens, dim) for part in (query, *parts[:2])))
    x = _update(block.freq, x, heard.view(x.shape))
    query = _ask(block.time, x, dtype)
    turned = (part.transpose(1, 2).reshape(-1, steps, dim) for part in (query, *parts[2:]))
    heard = attend(*turned).view(batch, tokens, steps, dim).transpose(1, 2)
    return _update(block.time, x, heard)


def _rms_norm(x: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + _EPS).rsqrt()


def _ask(axis: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
    return F.linear(_rms_norm(x).to(dtype), axis.query.weight)


def _update(axis: Any, x: Tensor, heard: Tensor) -> Tensor:
    x = x + F.linear(heard, axis.out.weight, axis.out.bias)
    hidden = F.gelu(F.linear(_rms_norm(x).to(heard.dtype), axis.up.weight, axis.up.bias))
    return x + F.linear(hidden, axis.down.weight, axis.down.bias)


def _summary(stream: Tensor, n_bands: int) -> Tensor:
    """As :func:`~pianoeval.encoders.transkun.encoder.summarise_stream`."""
    keys = stream[:, :, n_bands + 2 :]
    parts = [stream[:, :, 0], stream[:, :, 1:n_bands].mean(2), keys.mean(2), spread(keys, 2)]
    return torch.cat([*parts, stream[:, :, n_bands], stream[:, :, n_bands + 1]], -1)


def spread(x: Tensor, axis: int) -> Tensor:
    """Population standard deviation, with a gradient of 0 where all is equal."""
    return x.var(axis, correction=0).clamp_min(_TINY).sqrt()


class _Numbered(Differentiable):
    """An encoder whose layers are numbered from 0, which is what enters the first."""

    def __init__(self, encoder: Encoder, net: nn.Module) -> None:
        super().__init__(encoder, net)
        self.depth = max(int(layer) for layer in self.wanted)
        if self.depth == 0:
            raise ConfigError(
                "layer 0 lies before all layers that can be adapted",
                where=f"encoders.{encoder.spec.name}", allowed="layers from 1 on",
                next_step="edit lora.layers in params.yaml",
            )  # fmt: skip


class _Muq(_Numbered):
    kinds: ClassVar = {
        "attention": ("query_key", "value", "out"),
        "feed_forward": ("ffn1.up", "ffn1.down", "ffn2.up", "ffn2.down"),
    }

    def __init__(self, encoder: MuqEncoder) -> None:
        super().__init__(encoder, encoder._net)

    def places(self) -> tuple[str, ...]:
        return tuple(f"net.layers.{i}." for i in range(self.depth))

    def states(self, audio: Tensor) -> Iterator[tuple[str, Tensor]]:
        net: Any = self.net
        with torch.no_grad():
            x = net.conv(net.front(audio, None), None)
            rotary = net._rotary(x)
        yield "0", x
        for number, layer in enumerate(net.layers[: self.depth], 1):
            with _without_onednn(layer):
                x = x + layer.ffn1(x)
                x = x + layer.attention(x, rotary, None)
                x = x + layer.conv(x, None)
                x = layer.norm(x + layer.ffn2(x))
            yield str(number), net.layer_norm(x) if number == net.n_layers else x


@contextmanager
def _without_onednn(module: nn.Module) -> Iterator[None]:
    found = [part for part in module.modules() if isinstance(part, FusedLinear)]
    before = [part.onednn for part in found]
    for part in found:
        part.onednn = False
    try:
        yield
    finally:
        for part, fast in zip(found, before, strict=True):
            part.onednn = fast


class _Mert(_Numbered):
    kinds: ClassVar = {
        "attention": ("attention", "attention.out_proj"),
        "feed_forward": ("feed_forward.intermediate_dense", "feed_forward.output_dense"),
    }

    def __init__(self, encoder: MertEncoder) -> None:
        super().__init__(encoder, encoder._net)
        self.normalise = encoder._normalise

    def places(self) -> tuple[str, ...]:
        return tuple(f"net.encoder.layers.{i}." for i in range(self.depth))

    def states(self, audio: Tensor) -> Iterator[tuple[str, Tensor]]:
        net: Any = self.net
        stack = net.encoder
        with torch.no_grad():
            audio = standardise(audio, None) if self.normalise else audio
            x = net.feature_projection(net.feature_extractor(audio, None, net.dtype))
            x = x + stack.pos_conv_embed(x)
            x = x if stack.norm_first else stack.layer_norm(x)
        yield "0", x
        for number, layer in enumerate(stack.layers[: self.depth], 1):
            x = _hubert(layer, x)
            last = stack.norm_first and number == stack.n_layers
            yield str(number), stack.layer_norm(x) if last else x


def _hubert(layer: Any, x: Tensor) -> Tensor:
    """A transformer layer of HuBERT."""
    dtype = layer.attention.weight.dtype
    if layer.norm_first:
        x = x + _attention(layer.attention, layer.layer_norm(x).to(dtype))
        return x + _feed_forward(layer.feed_forward, layer.final_layer_norm(x).to(dtype))
    heard = _attention(layer.attention, x.to(dtype))
    x = layer.layer_norm(torch.add(heard, x, alpha=layer.alpha))
    done: Tensor = layer.final_layer_norm(
        torch.add(_feed_forward(layer.feed_forward, x.to(dtype)), x, alpha=layer.alpha)
    )
    return done


def _attention(own: Any, x: Tensor) -> Tensor:
    qkv = F.linear(x, own.weight, own.bias).view(*x.shape[:2], 3, own.heads, -1)
    heard = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
    return F.linear(heard.transpose(1, 2).flatten(2), own.out_proj.weight, own.out_proj.bias)


def _feed_forward(own: Any, x: Tensor) -> Tensor:
    into, out = own.intermediate_dense, own.output_dense
    return F.linear(F.gelu(F.linear(x, into.weight, into.bias)), out.weight, out.bias)


def differentiable(encoder: Encoder) -> Differentiable:
    """The network of an encoder that can be adapted.

    Raises
    ------
    ConfigError
        Of this kind none can, or not at these layers.
    """
    if isinstance(encoder, TranskunEncoder):
        return _Transkun(encoder)
    if isinstance(encoder, MuqEncoder):
        return _Muq(encoder)
    if isinstance(encoder, MertEncoder):
        return _Mert(encoder)
    raise ConfigError(
        f"an encoder of kind {encoder.spec.kind} cannot be adapted",
        where=f"encoders.{encoder.spec.name}", allowed="transkun, muq, mert",
        next_step="name another in lora.encoder in params.yaml",
    )  # fmt: skip
