"""What a network of rankers is, and its layers: parameters have a leading replica axis, (B, …).

A replica is a fold, a point of a sweep and a seed. Replicas meet in ``torch.bmm`` alone, so none
changes another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pianoeval.models.base import Float64
from pianoeval.rankers.sampling import Batch, Takes

Weights = dict[str, Tensor]

# Replicas that differ in these alone have parameters of one shape, and losses of one form.
KNOBS = (
    "temperature", "contrast_weight", "adversary_weight", "spread_weight", "margin", "alpha",
    "dropout", "learning_rate", "weight_decay",
)  # fmt: skip
_INIT = 0  # purpose of the random stream; rankers.sampling has the others


@dataclass(frozen=True)
class Shape:
    """What the parameters of a replica are shaped by.

    Attributes
    ----------
    n_features, n_dimensions : int
    n_pieces : int
        Most classes of pieces that a replica of the batch has.
    frame_width : int
        Values of a frame; 0 without frames.
    """

    n_features: int
    n_dimensions: int
    n_pieces: int
    frame_width: int = 0


class Network(Protocol):
    """What is trained; see the module.

    Attributes
    ----------
    reads_frames : bool
        Whether ``Takes.frames`` are wanted.
    fixed : frozenset of str
        Names of parameters that gradients do not change.
    first_epoch : int
        Epoch from which on one may be kept, at most ``max_epochs``.
    """

    reads_frames: bool
    fixed: frozenset[str]
    first_epoch: int

    def initial(self, shape: Shape, seed: int, labels: Float64) -> Weights:
        """Parameters of one replica, (…).

        Of what depends on ``shape.n_pieces``, the first must not change with their number.
        ``labels`` are the fit takes', standardised, (takes, dimensions).
        """

    def values(self, shape: Shape, n_takes: int, n_pairs: int) -> int:
        """About how many numbers a step of one replica keeps."""

    def loss(self, weights: Weights, batch: Batch) -> Tensor:
        """Loss of each replica, (B,)."""

    def after_epoch(self, weights: Weights, batches: Callable[[], Iterator[Batch]]) -> None:
        """Change ``fixed`` parameters in place; ``batches()`` are those of all fit takes."""

    def margins(self, weights: Weights, takes: Takes, first: Tensor, second: Tensor) -> Tensor:
        """How much ``first`` (B, P) is preferred to ``second``, odd in them: (B, P, D)."""

    def codes(self, weights: Weights, takes: Takes) -> dict[str, Tensor]:
        """Codes (B, m, k) by branch."""

    def asymmetry(
        self, weights: Weights, takes: Takes, first: Tensor, second: Tensor
    ) -> Tensor | None:
        """By how much the two orders of a pair disagree, (B,); None where they cannot."""


class BaseNetwork:
    """What most networks have in common."""

    reads_frames = False
    fixed: frozenset[str] = frozenset()
    first_epoch = 1

    def after_epoch(self, weights: Weights, batches: Callable[[], Iterator[Batch]]) -> None:
        """Nothing."""

    def asymmetry(
        self, weights: Weights, takes: Takes, first: Tensor, second: Tensor
    ) -> Tensor | None:
        """Margins that are odd by construction."""
        return None


class Initial:
    """Initial weights of one replica, as ``torch.nn.Linear``: uniform in ±1/√(fan in)."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn = 0
        self.weights: Weights = {}

    def linear(self, name: str, n_in: int, n_out: int, *, bias: bool = True) -> None:
        """``name``.w (n_out, n_in) and ``name``.b (n_out,).

        Outputs come first, so that the first of them begin alike whatever their number.
        """
        self.uniform(f"{name}.w", (n_out, n_in), n_in)
        if bias:
            self.uniform(f"{name}.b", (n_out,), n_in)

    def uniform(self, name: str, shape: tuple[int, ...], fan_in: int) -> None:
        """Uniform in ±1/√``fan_in``, from a stream of its own."""
        rng = np.random.default_rng([self._seed, _INIT, self._drawn])
        self._drawn += 1
        drawn = (2 * rng.random(shape, dtype=np.float32) - 1) / np.float32(fan_in**0.5)
        self.weights[name] = torch.from_numpy(drawn)

    def norm(self, name: str, width: int) -> None:
        """``name``.gain of 1 and ``name``.shift of 0."""
        self.weights[f"{name}.gain"] = torch.ones(width)
        self.weights[f"{name}.shift"] = torch.zeros(width)

    def projection(self, name: str, n_in: int, hidden: int, n_out: int) -> None:
        """What :func:`projection` reads."""
        self.linear(f"{name}.in", n_in, hidden)
        self.norm(f"{name}.norm", hidden)
        self.linear(f"{name}.out", hidden, n_out)


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """(B, m, n_in) to (B, m, n_out)."""
    turned = weights[f"{name}.w"].transpose(1, 2)
    bias = weights.get(f"{name}.b")
    return torch.bmm(x, turned) if bias is None else torch.baddbmm(bias[:, None], x, turned)


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Layer normalisation (Ba et al. 2016, arXiv:1607.06450), (B, m, width)."""
    even = functional.layer_norm(x, x.shape[-1:])
    return even * weights[f"{name}.gain"][:, None] + weights[f"{name}.shift"][:, None]


def projection(weights: Weights, name: str, x: Tensor, factors: Tensor | None = None) -> Tensor:
    """Linear, LayerNorm, GELU, dropout by ``factors``, linear: (B, m, n_in) to codes (B, m, k)."""
    hidden = functional.gelu(norm(weights, f"{name}.norm", linear(weights, f"{name}.in", x)))
    return linear(weights, f"{name}.out", hidden if factors is None else hidden * factors)


def pick(values: Tensor, index: Tensor) -> Tensor:
    """Takes ``index`` (B, P) of ``values`` (B, m, k): (B, P, k)."""
    replicas, n, width = values.shape
    # Twice as fast as ``gather``, there and back.
    place = (index + n * torch.arange(replicas)[:, None]).flatten()
    return values.reshape(-1, width).index_select(0, place).reshape(replicas, -1, width)
