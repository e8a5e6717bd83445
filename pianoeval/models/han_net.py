r"""Hierarchical attention network over notes, beats and measures.

As VirtuosoNet's score encoder (Jeong, Kwon, Kim & Nam, ISMIR 2019, section 4.1) and PercePiano's
model on it (Park et al., Scientific Data 11, 2024): a bidirectional LSTM over notes; the notes of a
beat become one vector by attention, over which a second LSTM runs, and beats become measures for a
third. Each note is then the concatenation of its own, its beat's and its measure's state,
contracted to one vector; attention over all notes of the clip gives what a two-layer head reads.
There is no layer for voices, which MIDI does not have.

Attention with context vectors (Yang et al., NAACL 2016, eqs. 5-7), :math:`K` heads over slices of
the state: :math:`u = \tanh(W h + b)`, :math:`a = \mathrm{softmax}_{\mathrm{group}}(u_k \cdot c_k)`,
:math:`v_k = \sum a\, h_k`.

A bidirectional LSTM is two that run forwards, one over each sequence turned round within its own
length: padding behind the end never reaches what lies before it, so a clip's output does not
depend on the batch it is in (up to rounding), and PyTorch's dense kernels apply, which on one core
are five times as fast as packed sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pianoeval.params import HanParams


@dataclass(frozen=True, eq=False)
class NoteBatch:
    """Clips side by side, padded behind their ends.

    ``values`` : float32 (clips, notes, features)
    ``beat, measure`` : int64 (clips, notes), of each note, from 0 without gaps; 0 where padded
    ``measure_of_beat`` : int64 (clips, beats)
    ``notes, beats, measures`` : int64 (clips,), lengths
    """

    values: Tensor
    beat: Tensor
    measure: Tensor
    measure_of_beat: Tensor
    notes: Tensor
    beats: Tensor
    measures: Tensor


def turned(lengths: Tensor, longest: int) -> Tensor:
    """Positions of each sequence from its end to its start, padding left in place; int64 (n, l)."""
    place = torch.arange(longest)[None, :]
    last = lengths[:, None] - 1
    return torch.where(place <= last, last - place, place)


class ClipDropout(nn.Module):
    """Dropout with one mask for all rows of a clip (Gal & Ghahramani, NeurIPS 2016).

    Recurrent states keep their meaning from row to row; a fifth of the time of training goes too,
    which drawing a mask for each row would take.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(share)

    def forward(self, x: Tensor) -> Tensor:
        """(clips, rows, values)."""
        if not self.training:
            return x
        mask: Tensor = self.drop(x.new_ones(x.shape[0], 1, x.shape[2]))
        return x * mask


class BothWays(nn.Module):
    """Bidirectional LSTM: (n, l, size_in) → (n, l, 2 hidden)."""

    def __init__(self, size_in: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(size_in, hidden, batch_first=True)
        self.backwards = nn.LSTM(size_in, hidden, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``lengths`` : int64 (n,); rows behind them are padding, and hold anything afterwards."""
        index = turned(lengths, x.shape[1])[:, :, None]
        ahead, _ = self.forwards(x)
        back, _ = self.backwards(x.gather(1, index.expand_as(x)))
        return torch.cat([ahead, back.gather(1, index.expand_as(back))], dim=-1)


class GroupAttention(nn.Module):
    """One vector for each group of rows, by attention with context vectors."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, size)
        self.context = nn.Parameter(torch.empty(heads, size // heads).uniform_(-1, 1))

    def forward(self, rows: Tensor, group: Tensor, n_groups: int) -> Tensor:
        """Rows (r, size) and their groups, int64 (r,) → (n_groups, size); zeros for no rows."""
        heads, width = self.context.shape
        hidden = torch.tanh(self.project(rows)).view(-1, heads, width)
        score = (hidden * self.context).sum(-1)
        index = group[:, None].expand(-1, heads)
        top = score.new_full((n_groups, heads), -torch.inf)
        top = top.scatter_reduce(0, index, score.detach(), "amax")
        share = torch.exp(score - top[group])
        total = score.new_zeros(n_groups, heads).index_add(0, group, share)
        weight = share / total[group]
        weighted = (rows.view(-1, heads, width) * weight[:, :, None]).flatten(1)
        return rows.new_zeros(n_groups, heads * width).index_add(0, group, weighted)


def _pooled(
    attention: GroupAttention, rows: Tensor, group: Tensor, lengths: Tensor, n_groups: int
) -> Tensor:
    """Rows (n, l, size) of groups (n, l), padding left out → (n, n_groups, size)."""
    n_clips, longest = group.shape
    there = torch.arange(longest)[None, :] < lengths[:, None]
    flat = (group + n_groups * torch.arange(n_clips)[:, None])[there]
    pooled: Tensor = attention(rows[there], flat, n_clips * n_groups)
    return pooled.view(n_clips, n_groups, -1)


def _of_each(states: Tensor, group: Tensor) -> Tensor:
    """The state of each row's group: (n, g, size), (n, l) → (n, l, size)."""
    return states.gather(1, group[:, :, None].expand(-1, -1, states.shape[2]))


class Han(nn.Module):
    """Notes of clips → all dimensions, (clips, dimensions)."""

    def __init__(self, n_features: int, n_outputs: int, params: HanParams) -> None:
        super().__init__()
        size = 2 * params.hidden
        self.embed = nn.Linear(n_features, params.hidden)
        self.note_lstm = BothWays(params.hidden, params.hidden)
        self.beat_attention = GroupAttention(size, params.heads)
        self.beat_lstm = BothWays(size, params.hidden)
        self.measure_attention = GroupAttention(size, params.heads)
        self.measure_lstm = BothWays(size, params.hidden)
        self.contract = nn.Linear(3 * size, size)
        self.clip_attention = GroupAttention(size, params.heads)
        self.drop = ClipDropout(params.dropout)
        self.head = nn.Sequential(
            nn.Dropout(params.dropout), nn.Linear(size, size), nn.GELU(),
            nn.Dropout(params.dropout), nn.Linear(size, n_outputs),
        )  # fmt: skip

    def forward(self, batch: NoteBatch) -> Tensor:
        notes = self.note_lstm(self.drop(self.embed(batch.values)), batch.notes)
        n_beats, n_measures = batch.measure_of_beat.shape[1], int(batch.measures.max())
        beats = _pooled(self.beat_attention, self.drop(notes), batch.beat, batch.notes, n_beats)
        beats = self.beat_lstm(beats, batch.beats)
        measures = _pooled(
            self.measure_attention, self.drop(beats), batch.measure_of_beat, batch.beats, n_measures
        )
        measures = self.measure_lstm(measures, batch.measures)
        spread = [notes, _of_each(beats, batch.beat), _of_each(measures, batch.measure)]
        whole = self.contract(self.drop(torch.cat(spread, dim=-1)))
        group = torch.zeros_like(batch.beat)
        out: Tensor = self.head(_pooled(self.clip_attention, whole, group, batch.notes, 1)[:, 0])
        return out
