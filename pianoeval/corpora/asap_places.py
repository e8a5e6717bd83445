"""Which bars of a piece are cut out of ASAP, and whose performances of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pianoeval.corpora.asap_files import Beats, Entry
from pianoeval.midi.perform import seeded
from pianoeval.params import CorpusParams


@dataclass(frozen=True, eq=False)
class Played:
    """A performance whose beats are those of its score."""

    entry: Entry
    beats: Beats


@dataclass(frozen=True)
class Place:
    """Bars of a piece: the beats ``first`` up to ``last``, of ``bars`` bars from bar ``bar``."""

    name: str
    first: int
    last: int
    bar: int
    bars: int


def drawn_performers(played: Sequence[Played], seed: int) -> list[Played]:
    """One performance a name, in an order drawn by seed.

    One name may stand for one person twice, and for one performance in two sources: the first of
    a name is taken.
    """
    first: dict[str, Played] = {}
    for one in played:
        first.setdefault(one.entry.player, one)
    names = sorted(first)
    rng = seeded(seed, "performers", played[0].entry.piece)
    return [first[names[i]] for i in rng.permutation(len(names))]


def choose_places(
    piece: str, score: Beats, performed: Sequence[Beats], params: CorpusParams
) -> list[Place]:
    """``excerpts`` places, spread over the piece; its outer bars are taken last.

    Bars are taken away and added until the median performance lasts from ``shortest_s`` to
    ``longest_s``: eight bars of an adagio are a minute.
    """
    down = score.downbeats
    n_bars = len(down) - 1
    places: list[Place] = []
    taken = 0
    for number in range(params.excerpts):
        middle = (number + 0.5) / params.excerpts * n_bars
        bars = min(params.bars, n_bars)
        if bars < 1:
            break
        start = _start(middle, bars, n_bars)
        while bars > 1 and _seconds(performed, down, start, bars) > params.longest_s:
            bars -= 1
            start = _start(middle, bars, n_bars)
        while bars < n_bars and _seconds(performed, down, start, bars) < params.shortest_s:
            bars += 1
            start = _start(middle, bars, n_bars)
        if start < taken:
            continue  # a short piece has no room for another place that is its own
        taken = start + bars
        name = f"{piece}/bars{start + 1:03d}-{start + bars:03d}"
        places.append(Place(name, int(down[start]), int(down[start + bars]), start + 1, bars))
    return places


def _start(middle: float, bars: int, n_bars: int) -> int:
    return int(np.clip(round(middle - bars / 2), 0, n_bars - bars))


def _seconds(
    performed: Sequence[Beats], down: np.ndarray, start: int, bars: int
) -> float:  # fmt: skip
    lengths = [b.time_s[down[start + bars]] - b.time_s[down[start]] for b in performed]
    return float(np.median(lengths))
