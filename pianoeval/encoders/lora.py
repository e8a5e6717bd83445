r"""Low-rank adapters of a frozen encoder (Hu et al. 2022, "LoRA", ICLR).

A linear layer's matrix W (out, in) becomes :math:`W + \frac{α}{r} B A`, A (r, in) and B (out, r);
only A and B are trained. A is uniform in ±1/√in and B is 0 at the start, so that an adapted encoder
is then the frozen one, bit for bit. Matrices that the encoders have fused (queries and keys of MuQ,
queries, keys and values of MERT, keys and values of Transkun) share one A.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.differentiable import Differentiable
from pianoeval.provenance import sha256_bytes


class Lora(nn.Module):
    """Adapters of named matrices.

    Parameters
    ----------
    shapes : mapping of (int, int)
        (out, in) of each matrix that is adapted.
    rank : int
        r; of a smaller matrix its smaller side.
    alpha : float
        α.
    seed : int
        A is drawn on the CPU, in the order of ``shapes``: equal on every device.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, int]], rank: int, alpha: float, seed: int
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.names = tuple(shapes)
        self.scale = alpha / rank
        self.a, self.b = nn.ParameterList(), nn.ParameterList()
        for out, into in shapes.values():
            narrow = min(rank, out, into)
            drawn = 2 * torch.rand((narrow, into), generator=generator) - 1
            self.a.append(nn.Parameter(drawn / math.sqrt(into)))
            self.b.append(nn.Parameter(torch.zeros(out, narrow)))

    def delta(self, number: int) -> Tensor:
        """What is added to the matrix of that number, (out, in) float32."""
        update: Tensor = self.scale * (self.b[number] @ self.a[number])
        return update

    def weights(self, frozen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Adapted matrices by name, in the arithmetic of the frozen ones."""
        return {
            name: (frozen[name].float() + self.delta(i)).to(frozen[name].dtype)
            for i, name in enumerate(self.names)
        }

    def digest(self) -> str:
        """SHA-256 of the adapters."""
        parts = [self.names, self.scale]
        values = [p.detach().float().cpu().numpy().tobytes() for p in self.parameters()]
        return sha256_bytes(repr(parts).encode() + b"".join(values))


def adapters_of(
    net: Differentiable, targets: Sequence[str], rank: int, alpha: float, seed: int
) -> Lora:
    """New adapters of a network's layers of these kinds, on its device."""
    frozen = net.matrices(targets)
    shapes = {name: (value.shape[0], value.shape[1]) for name, value in frozen.items()}
    device = next(iter(frozen.values())).device
    return Lora(shapes, rank, alpha, seed).to(device)


def adapted_frames(net: Differentiable, lora: Lora, audio: Tensor) -> Tensor:
    """Frames (batch, frames, layers, dim) through which gradients reach the adapters alone."""
    frames: Tensor = functional_call(net, lora.weights(net.tensors()), (audio,))
    return frames


@contextmanager
def adapted(net: Differentiable, lora: Lora) -> Iterator[Encoder]:
    """The encoder with its adapters in place; the frozen matrices are put back, bit for bit."""
    frozen = net.tensors()
    before = {name: frozen[name].clone() for name in lora.names}
    spec = net.encoder.spec
    try:
        yield merge(net, lora)
    finally:
        net.encoder.spec = spec
        with torch.no_grad():
            for name, value in before.items():
                frozen[name].copy_(value)


@torch.no_grad()
def merge(net: Differentiable, lora: Lora) -> Encoder:
    """The encoder with its adapters added to its matrices for good: it costs what it cost before.

    Its specification names the adapters beside the weights, so that no embedding of one is taken
    for one of the other.
    """
    frozen, encoder = net.tensors(), net.encoder
    for name, value in lora.weights(frozen).items():
        frozen[name].copy_(value)
    spec = encoder.spec
    digest = sha256_bytes(f"{spec.weights_sha256}|{lora.digest()}".encode())
    source = f"{spec.weights_source}, adapted"
    encoder.spec = replace(spec, weights_sha256=digest, weights_source=source)
    return encoder
