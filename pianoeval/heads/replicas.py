"""Replicas that train on the same chunks: heads, points of sweeps, dimensions of a fold and seed.

They share their chunks and one step of descent. Convolutions and loss run for each by itself, while
what it reads is in the cache of the processor: for several at once they took as long, and sums of
several were divided otherwise than those of one, so last bits told of the company that a replica
trained in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pianoeval.heads import conv
from pianoeval.heads.networks import Layout, follow, linear_rating, pcconv_rating
from pianoeval.heads.objectives import Phase, codes_loss, phases_of
from pianoeval.heads.sampling import Material, mean_of_owner, pairs_of
from pianoeval.models.base import Float32, Float64, Rows
from pianoeval.params_contrast import HeadParams


@dataclass(frozen=True)
class Job:
    """One replica: a head and the dimension that it learns."""

    head: HeadParams
    dimension: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one replica says: of reported clips, and how well of those that it stopped on.

    All of it is NaN where the loss was never finite.
    """

    predicted: Float64
    latents: Float32
    validation: float
    epochs: dict[str, float]


class Replicas:
    """Replicas of one fold and seed, whose layers have one shape."""

    def __init__(self, material: Material, jobs: Sequence[Job], seed: int) -> None:
        self.material, self.jobs, self.seed = material, list(jobs), seed
        head = self.jobs[0].head
        self.layout = Layout(head, material.width, material.y_fit.shape[1])
        n = len(self.jobs)
        self.rows = self.layout.initial(seed).repeat(n, 1)
        self.running = self.layout.initial_running().repeat(n, 1)
        self.speed, self.gradient = torch.zeros_like(self.rows), torch.zeros_like(self.rows)
        self.best = [(self.rows[slot].clone(), self.running[slot].clone()) for slot in range(n)]
        self.phases = [phases_of(job.head) for job in self.jobs]
        self.phase = [0] * n
        self.least, self.at, self.since = [math.inf] * n, [0] * n, [0] * n
        self.chosen: list[dict[str, float]] = [{} for _ in self.jobs]
        self.lost: set[int] = set()
        self.frozen: dict[int, tuple[Tensor, Rows]] = {}  # codes of held chunks, and whose they are
        self.active = list(range(n))
        self.momentum = head.momentum
        self.learns = torch.zeros_like(self.rows)
        self.rate, self.decay = torch.zeros(n, 1), torch.zeros(n, 1)
        for slot in self.active:
            self._begin(slot, 0)

    def run(self, stopped: Callable[[], bool] = lambda: False) -> list[Outcome]:
        """Train until every replica has stopped; no outcomes if it is told to stop before."""
        epoch = 0
        while self.active:
            epoch += 1
            for step, (chunks, places) in enumerate(self.material.batches(self.seed, epoch)):
                if stopped():
                    return []
                pairs = pairs_of(self.seed, epoch, step, len(places))
                for slot in self.active:
                    self._learn(slot, chunks, self.material.y_fit[places], pairs)
                self._descend()
            self._validate(epoch)
        return [self._outcome(slot) for slot in range(len(self.jobs))]

    def _now(self, slot: int) -> Phase:
        return self.phases[slot][self.phase[slot]]

    def _begin(self, slot: int, epoch: int) -> None:
        """A new phase, with an optimiser of its own."""
        phase, layout = self._now(slot), self.layout
        learns = self.learns[slot].zero_()
        if phase.encoder:
            learns[: layout.n_encoder] = 1
        if phase.rates == "pcconv":
            learns[layout.n_encoder : layout.n_pcconv] = 1
        elif phase.rates == "linear":
            learns[layout.n_pcconv : layout.n_linear] = 1
        if phase.head.regularise == "i_vae":
            learns[layout.n_linear :] = 1
        self.rate[slot], self.decay[slot] = phase.learning_rate, phase.head.weight_decay
        self.speed[slot] = 0
        self.least[slot], self.at[slot], self.since[slot] = math.inf, epoch, epoch
        if not phase.encoder:
            self.frozen[slot] = self._held_codes(slot)

    def _learn(self, slot: int, chunks: Tensor, y: Tensor, pairs: Tensor) -> None:
        """Gradient of one replica in a batch."""
        phase, layout = self._now(slot), self.layout
        blocks = layout.blocks(self.rows[slot])
        running = layout.running(self.running[slot])
        traces: list[conv.Trace] = []
        if phase.encoder:
            out, traces, moments = conv.forward(chunks, blocks, layout.stride)
            follow(running, moments)
        else:
            out = conv.infer(chunks, blocks, running, layout.stride)
        row = self.rows[slot : slot + 1].clone().requires_grad_()
        seen = _seen(phase, out)[None].requires_grad_(phase.encoder)
        loss = self._loss(slot, row, seen, y, pairs)
        wanted = [row, seen] if phase.encoder else [row]
        found = torch.autograd.grad(loss.sum(), wanted, materialize_grads=True)
        self.gradient[slot] = found[0][0]
        if phase.encoder:
            turned = _unseen(phase, found[1][0], out)
            for number, made in enumerate(conv.backward(turned, traces, blocks, layout.stride)):
                for name, value in made._asdict().items():
                    layout.get(self.gradient[slot], f"{number}.{name}").copy_(value)

    def _loss(self, slot: int, row: Tensor, seen: Tensor, y: Tensor, pairs: Tensor) -> Tensor:
        """Loss of one replica in a batch, (1,); ``y`` (m, dimensions)."""
        phase = self._now(slot)
        goal = y[None, :, self.jobs[slot].dimension]
        if phase.rates == "pcconv":
            moments = self.running[slot : slot + 1, -2:]
            rated = pcconv_rating(self.layout, row, seen, moments, learning=True)
            return (rated - goal).square().mean(dim=1)
        loss = row.new_zeros(1)
        if phase.rates == "linear":
            rated = linear_rating(self.layout, row, seen)
            loss = (rated - goal).square().mean(dim=1)
        sampled = pairs[None] if phase.head.pairs == "sampled" else None
        return loss + codes_loss(self.layout, phase, row, seen, y, goal, sampled)

    def _descend(self) -> None:
        """As ``torch.optim.SGD`` with momentum, the penalty in the gradient."""
        at = torch.tensor(self.active)
        row, gradient = self.rows[at], self.gradient[at]
        gradient = (gradient + row * self.decay[at]) * self.learns[at]
        speed = self.speed[at] * self.momentum + gradient
        self.speed[at] = speed
        self.rows[at] = row - speed * self.rate[at]

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        """Keep the weights where the loss on held clips is the least; end what got no better."""
        losses = self._held_losses()
        for slot in [*self.active]:
            phase = self._now(slot)
            numbers = self.rows[slot], self.running[slot]
            sound = all(bool(one.isfinite().all()) for one in numbers)
            if sound and losses[slot] < self.least[slot]:
                self.least[slot], self.at[slot] = losses[slot], epoch
                for kept, new in zip(self.best[slot], numbers, strict=True):
                    kept.copy_(new)
            waited = epoch - self.at[slot] >= phase.head.patience
            if waited or epoch - self.since[slot] == phase.epochs or not sound:
                self._end(slot, epoch)

    def _end(self, slot: int, epoch: int) -> None:
        """Back to the best weights of a phase, and on to the next if there is one."""
        if not math.isfinite(self.least[slot]):
            self.lost.add(slot)
            self.chosen[slot] = {phase.name: math.nan for phase in self.phases[slot]}
            self.active.remove(slot)
            return
        self.rows[slot], self.running[slot] = self.best[slot]
        self.chosen[slot][self._now(slot).name] = self.at[slot] - self.since[slot]
        if self.phase[slot] + 1 == len(self.phases[slot]):
            self.active.remove(slot)
        else:
            self.phase[slot] += 1
            self._begin(slot, epoch)

    def _held_losses(self) -> dict[int, float]:
        """Of each active replica, on held clips in chunks that do not overlap."""
        head = self.jobs[0].head
        made: dict[int, list[Tensor]] = {slot: [] for slot in self.active}
        owners: list[Rows] = []
        learning = [slot for slot in self.active if self._now(slot).encoder]
        if learning:
            hop = max(head.hop_frames, head.chunk_frames)
            for chunks, owner in self.material.grid(self.material.held, hop):
                owners.append(owner)
                for slot in learning:
                    made[slot].append(self._read(slot, chunks)[0])
        found = {}
        for slot in self.active:
            if slot in self.frozen:
                values, owner = self.frozen[slot]
            else:
                values, owner = torch.cat(made[slot]), np.concatenate(owners)
            found[slot] = self._held_loss(slot, values, owner)
        return found

    def _held_loss(self, slot: int, values: Tensor, owner: Rows) -> float:
        """``values``: of each chunk, codes, or ratings of ``pcconv``."""
        phase, n = self._now(slot), len(self.material.held)
        y = self.material.y_held
        goal = y[None, :, self.jobs[slot].dimension]
        row = self.rows[slot : slot + 1]
        if phase.rates == "pcconv":
            return float((mean_of_owner(values, owner, n)[None] - goal).square().mean())
        codes, loss = mean_of_owner(values, owner, n)[None], torch.zeros(1)
        if phase.rates == "linear":
            rated = mean_of_owner(linear_rating(self.layout, row, values[None])[0], owner, n)
            loss = (rated[None] - goal).square().mean(dim=1)
        return float((loss + codes_loss(self.layout, phase, row, codes, y, goal, None))[0])

    def _held_codes(self, slot: int) -> tuple[Tensor, Rows]:
        head = self.jobs[slot].head
        hop = max(head.hop_frames, head.chunk_frames)
        read = [
            (self._read(slot, chunks)[0], owner)
            for chunks, owner in self.material.grid(self.material.held, hop)
        ]
        return torch.cat([one for one, _ in read]), np.concatenate([one for _, one in read])

    @torch.no_grad()
    def _read(self, slot: int, chunks: Tensor) -> tuple[Tensor, Tensor]:
        """What the loss reads of each chunk (ratings of ``pcconv``, else codes), and codes."""
        layout, row, running = self.layout, self.rows[slot], self.running[slot]
        out = conv.infer(chunks, layout.blocks(row), layout.running(running), layout.stride)
        codes = out.mean(dim=0).T.contiguous()
        if self._now(slot).rates != "pcconv":
            return codes, codes
        last = out.reshape(1, -1, out.shape[2])
        rated = pcconv_rating(layout, row[None], last, running[None, -2:], learning=False)
        return rated[0], codes

    @torch.no_grad()
    def _rated(self, slot: int, clips: Rows) -> tuple[Tensor, Tensor]:
        """Ratings and codes of clips, means over chunks every ``hop_frames``."""
        rated, codes, owners = [], [], []
        row = self.rows[slot : slot + 1]
        for chunks, owner in self.material.grid(clips, self.jobs[slot].head.hop_frames):
            read, code = self._read(slot, chunks)
            if self._now(slot).rates == "linear":
                read = linear_rating(self.layout, row, code[None])[0]
            rated.append(read)
            codes.append(code)
            owners.append(owner)
        owner = np.concatenate(owners)
        return tuple(mean_of_owner(torch.cat(one), owner, len(clips)) for one in (rated, codes))  # type: ignore[return-value]

    def _outcome(self, slot: int) -> Outcome:
        material = self.material
        if slot in self.lost:
            n = len(material.fold.test)
            codes = torch.full((n, self.layout.code), math.nan)
            return Outcome(np.full(n, np.nan), codes.numpy(), math.nan, self.chosen[slot])
        rated, codes = self._rated(slot, material.fold.test)
        held = self._rated(slot, material.held)[0].double()
        goal = material.y_held[:, self.jobs[slot].dimension].double()
        error = float((held - goal).square().mean())
        return Outcome(rated.double().numpy(), codes.numpy(), error, self.chosen[slot])


def _seen(phase: Phase, out: Tensor) -> Tensor:
    """What follows the blocks: (time · channels, m) for ``pcconv``, else codes (m, channels)."""
    return (
        out.reshape(-1, out.shape[2]) if phase.rates == "pcconv" else out.mean(dim=0).T.contiguous()
    )


def _unseen(phase: Phase, gradient: Tensor, out: Tensor) -> Tensor:
    """Gradient of a block's output from that of :func:`_seen`."""
    if phase.rates == "pcconv":
        return gradient.reshape(out.shape)
    return (gradient.T / len(out)).expand(out.shape).contiguous()
