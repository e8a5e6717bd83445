"""Which pooled statistics hear rubato: simulated pianists whose tempo bends by a known amount.

    python benchmarks/rubato.py [--encoders mel transkun] [--segments 20] [--takes 6]

Excerpts of the studio corpus are played by the rules of ``midi.perform`` without any of those that
bend the tempo. Then time is warped: the logarithm of the tempo follows a random curve of periods
from 2.5 to 16 s, whose standard deviation (0 to 0.35) is the label; the length stays. Touch,
loudness and mean tempo are drawn anew for each take. Ridge predicts the label for works that it
was not trained on, from each statistic, alone and beside mean and std; and from the
difference to a take of the same excerpt without rubato by an average player, which is what
score-referenced features are. The player's loudness is predicted too: what hears nothing at
all hears no rubato either.

R² is of all held-out takes together; below 0 is worse than the mean of the other works. The
standard error is a jackknife over works. Nothing is cached: allow a minute of one core for
a minute of audio.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pianoeval.audio.render import render_performance
from pianoeval.corpora.studio import Segment, choose_segments
from pianoeval.encoders.extract import embed_audio
from pianoeval.encoders.registry import create_encoder
from pianoeval.features.framestats import Timing, pool_frames
from pianoeval.features.temporal import LAGS_S, OCTAVES_HZ, TEMPORAL, THIRDS
from pianoeval.midi.io import Performance
from pianoeval.midi.perform import RANGES, Player, perform, sample_player, seeded
from pianoeval.models.base import Fold
from pianoeval.models.ridge import predict_ridge
from pianoeval.params import (
    CorpusParams,
    EncoderParams,
    InstrumentParams,
    MelParams,
    RenderParams,
    RidgeParams,
    TranskunParams,
)

SETTINGS: dict[str, tuple[EncoderParams, str]] = {
    "mel": (MelParams(), "log-mel, 128 values, 43 Hz"),
    "transkun": (
        TranskunParams(layers="4", precision="bfloat16"), "Transkun layer 4, 1536 values, 5.4 Hz"
    ),
}  # fmt: skip
GRAND = InstrumentParams(font="fluidr3-pianos", gain_db=-4.4, velocity_lowpass_cents=5400)
PLAIN = ("mean", "std")
STATS = ("mean", "std", "max", "min", *TEMPORAL)
SETS: dict[str, tuple[str, ...]] = {
    "mean + std": PLAIN,
    "mean + std + max + min": ("mean", "std", "max", "min"),
    **{name: (name,) for name in ("delta", "slope", "pulse", "activity")},
    "thirds": THIRDS,
    "lags": tuple(LAGS_S),
    "octaves": tuple(OCTAVES_HZ),
    "mean + std + delta": (*PLAIN, "delta"),
    "mean + std + pulse": (*PLAIN, "pulse"),
    "mean + std + activity": (*PLAIN, "activity"),
    "mean + std + lags": (*PLAIN, *LAGS_S),
    "mean + std + octaves": (*PLAIN, *OCTAVES_HZ),
    "all temporal": TEMPORAL,
    "mean + std + all temporal": (*PLAIN, *TEMPORAL),
}
PERIODS_S = (2.5, 16.0)
MOST_RUBATO = 0.35
LAMBDAS = [float(10**power) for power in np.arange(0, 8.5, 0.5)]

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Take:
    """A performance and what is known of it."""

    work: str
    segment: str
    rubato: float
    loudness: float
    performance: Performance


def steady(player: Player) -> Player:
    """The player without the rules that bend the tempo."""
    return replace(player, phrase_arch=0.0, ritard=0.0, contrast=0.0, drift=0.0)


def average_player() -> Player:
    """Every habit in the middle of its range, steady."""
    return steady(Player(name="average", **{k: (a + b) / 2 for k, (a, b) in RANGES.items()}))


def warped(performance: Performance, rubato: float, rng: np.random.Generator) -> Performance:
    """The same with a tempo that wanders; its logarithm has standard deviation ``rubato``."""
    end = float(performance.offset_s.max())
    grid = np.linspace(0, end, 1 + round(end * 50))
    frequency = np.fft.rfftfreq(4 * len(grid), grid[1])
    inside = (frequency >= 1 / PERIODS_S[1]) & (frequency <= 1 / PERIODS_S[0])
    noise = rng.standard_normal((len(frequency), 2)) @ [1, 1j]
    curve = np.fft.irfft(np.where(inside, noise / np.sqrt(np.maximum(frequency, 1e-9)), 0))
    curve = curve[: len(grid)]
    slowness = np.exp(-rubato * (curve - curve.mean()) / curve.std())
    times = np.concatenate([[0.0], np.cumsum((slowness[1:] + slowness[:-1]) / 2)])
    times *= end / times[-1]

    def at(values: Vector) -> Vector:
        return np.interp(values, grid, times)

    return replace(
        performance, onset_s=at(performance.onset_s), offset_s=at(performance.offset_s),
        pedal_time_s=at(performance.pedal_time_s),
    )  # fmt: skip


def takes_of(segment: Segment, n: int) -> list[Take]:
    """First the reference without rubato, then ``n`` takes of drawn rubato."""
    work = segment.work.composition
    plain = perform(segment.score, average_player(), seeded(0, "rubato", segment.name))
    found = [Take(work, segment.name, 0.0, average_player().velocity, plain)]
    for number in range(n):
        rng = seeded(0, "rubato", segment.name, str(number))
        player = steady(sample_player(f"{segment.name}/{number}", 0))
        rubato = MOST_RUBATO * (number + float(rng.random())) / n
        performance = warped(perform(segment.score, player, rng), rubato, rng)
        found.append(Take(work, segment.name, rubato, player.velocity, performance))
    return found


def pooled(takes: list[Take], name: str) -> NDArray[np.float32]:
    """Statistics of every take, (takes, stats, dim), of the encoder's one layer."""
    encoder = create_encoder(SETTINGS[name][0], name)
    timing = Timing(encoder.spec.frame_rate_hz)
    render = RenderParams()
    rows = []
    for take in takes:
        audio = render_performance(take.performance, GRAND, render)
        frames = embed_audio(audio, render.sample_rate_hz, encoder)
        rows.append(pool_frames(frames, STATS, timing)[0])
    return np.stack(rows)


def groups_of(works: list[str], n: int) -> NDArray[np.int64]:
    """Works in ``n`` groups of about equal size, the largest first."""
    names, counts = np.unique(works, return_counts=True)
    total, group = np.zeros(n), dict[str, int]()
    for position in np.argsort(-counts, kind="stable"):
        group[names[position]] = int(total.argmin())
        total[total.argmin()] += counts[position]
    return np.array([group[work] for work in works])


def held_out(x: NDArray[np.float32], y: Vector, works: list[str]) -> Vector:
    """Predictions of ridge for works that it was not trained on; columns of ``y`` one by one."""
    group = groups_of(works, 5)
    found = np.full_like(y, np.nan)
    for column in range(y.shape[1]):
        for number in range(5):
            train, test = np.flatnonzero(group != number), np.flatnonzero(group == number)
            part = groups_of([works[row] for row in train], 4)
            inner = [(np.flatnonzero(part != p), np.flatnonzero(part == p)) for p in range(4)]
            fold = Fold(f"works/{number}", x, train, test, y[train][:, [column]], inner)
            [result] = predict_ridge([fold], RidgeParams(lambdas=LAMBDAS))
            found[test, column] = result.values[:, 0]
    return found


def r2(y: Vector, p: Vector, works: list[str]) -> tuple[float, float]:
    """R² and its standard error, by leaving out one work at a time."""
    names = np.array(works)

    def of(rows: NDArray[np.bool_]) -> float:
        centred = y[rows] - y[rows].mean()
        return float(1 - ((y[rows] - p[rows]) ** 2).sum() / (centred**2).sum())

    parts = np.array([of(names != work) for work in sorted(set(works))])
    n = len(parts)
    error = np.sqrt((n - 1) / n * ((parts - parts.mean()) ** 2).sum())
    return of(np.ones(len(y), bool)), float(error)


def main() -> None:
    """Print a table an encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--segments", type=int, default=20)
    parser.add_argument("--takes", type=int, default=6)
    options = parser.parse_args()
    logging.getLogger("pianoeval").setLevel(logging.ERROR)  # penalties at the edge of the grid
    corpus = CorpusParams(loader="studio", n_segments=options.segments, segment_s=12.0)
    takes = [t for s in choose_segments(corpus) for t in takes_of(s, options.takes)]
    reference = {takes[row].segment: row for row in range(0, len(takes), options.takes + 1)}
    rows = [row for row in range(len(takes)) if row % (options.takes + 1)]
    works = [takes[row].work for row in rows]
    y = np.array([[takes[row].rubato, takes[row].loudness] for row in rows])
    minutes = sum(t.performance.end_s for t in takes) / 60
    print(f"{len(rows)} takes of {len(reference)} excerpts, {len(set(works))} works, "
          f"{minutes:.0f} min")  # fmt: skip
    own_row = [reference[takes[row].segment] for row in rows]
    for name in options.encoders:
        values = pooled(takes, name)
        print(f"\n{SETTINGS[name][1]}\n{'':41}   rubato, less")
        print(f"{'':27}{'rubato':>14}{'the reference':>15}{'loudness':>14}")
        for label, stats in SETS.items():
            at = [STATS.index(stat) for stat in stats]
            own = values[rows][:, at].reshape(len(rows), -1)
            apart = own - values[own_row][:, at].reshape(len(rows), -1)
            cells = []
            for x, column in ((own, 0), (apart, 0), (own, 1)):
                p = held_out(x, y[:, [column]], works)[:, 0]
                cells.append("{:.2f} ± {:.2f}".format(*r2(y[:, column], p, works)))
            print(f"{label:27}" + f"{cells[0]:>14}{cells[1]:>15}{cells[2]:>14}", flush=True)


if __name__ == "__main__":
    main()
