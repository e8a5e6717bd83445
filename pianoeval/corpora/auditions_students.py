"""Who auditions for corpus ``auditions``, how well, and what the judge writes down.

A student has a general and, for each fault, a particular ability; both stay through the years, and
every audition adds the form of the day. Severities are quantiles of their sum. The true rating of a
criterion is a weighted mean of the severities it is about, turned round. One judge a year and
instrument rates with noise, part of which is common to the criteria (halo), in the whole points of
the sheet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pianoeval.corpora.auditions_play import FAULTS, Faults
from pianoeval.midi.perform import seeded

F8 = NDArray[np.float64]

YEARS = (2013, 2014, 2015, 2016, 2017, 2018)
# Table 1 of Seshadri & Lerch 2021, recordings of all six years.
RECORDINGS = {
    "middle": {"alto_saxophone": 696, "clarinet": 925, "flute": 989},
    "symphonic": {"alto_saxophone": 641, "clarinet": 1156, "flute": 1196},
}
CRITERIA = ("musicality", "note_accuracy", "rhythm_accuracy")
POLES = {
    "musicality": ("plain", "musical"),
    "note_accuracy": ("wrong notes", "all notes right"),
    "rhythm_accuracy": ("uneven", "steady and exact"),
}
POINTS = {"musicality": 10, "note_accuracy": 10, "rhythm_accuracy": 10}  # maxima of the sheet
WEIGHTS = {  # of severities; each row sums to 1
    "musicality": {
        "plainness": 0.45, "intonation": 0.25, "breathing": 0.20, "tempo_drift": 0.10,
    },
    "note_accuracy": {"wrong_notes": 0.50, "missing_notes": 0.30, "hesitations": 0.20},
    "rhythm_accuracy": {"unevenness": 0.45, "tempo_drift": 0.25, "hesitations": 0.30},
}  # fmt: skip
GENERAL, PARTICULAR, OF_THE_DAY = 0.45, 0.35, 0.20  # shares of the variance of a fault's ability
GROWTH = 0.3  # sd of ability gained a year
SEVERITY_POWER = {"middle": 1.3, "symphonic": 1.8}  # severity = quantile ** power
RETURNS = 0.4  # chance to come again next year
GRADES = {"middle": 2, "symphonic": 4}  # years that a student may audition in
HALO = 0.3  # share of the judge's noise that is common to the criteria
_SAMPLE = 20_000


@dataclass(frozen=True)
class Audition:
    """One student in one year: severities, true and written ratings in the order of CRITERIA."""

    player: str
    instrument: str
    year: int
    faults: Faults
    truth: tuple[float, ...]
    rating: tuple[float, ...]


def counts(level: str, scale: float) -> dict[tuple[str, int], int]:
    """Auditions by instrument and year; at least one each."""
    found: dict[tuple[str, int], int] = {}
    for instrument, recordings in RECORDINGS[level].items():
        total = max(len(YEARS), round(recordings * scale))
        parts = np.diff(np.round(np.linspace(0, total, len(YEARS) + 1)).astype(int))
        found |= {(instrument, year): int(n) for year, n in zip(YEARS, parts, strict=True)}
    return found


def draw_auditions(level: str, scale: float, reliability: float, seed: int) -> list[Audition]:
    """All auditions of a level, by instrument, year and student.

    Parameters
    ----------
    scale : float
        Share of the recordings of Table 1, in (0, 1].
    reliability : float
        Share of the variance of a judge's marks, before they are cut and rounded, that is the
        student's; in (0, 1].
    """
    noise_sd = judge_sd(level, reliability)
    auditions = []
    rosters = _rosters(counts(level, scale), GRADES[level], seed, level)
    for (instrument, year), roster in rosters.items():
        for player, served in roster:
            z = _ability(player, year, served, seed, level)
            severity = severities(z, level)
            truth = true_ratings(severity[None])[0]
            rng = seeded(seed, "judge", level, player, str(year))
            rating = marks(truth[None], noise_sd, rng)[0]
            faults = Faults(**dict(zip(FAULTS, severity.tolist(), strict=True)))
            auditions.append(
                Audition(
                    player, instrument, year, faults, tuple(truth.tolist()), tuple(rating.tolist())
                )
            )
    return auditions


def severities(ability: F8, level: str) -> F8:
    """Severity of each fault, 0 to 1, from abilities of variance 1; float64, same shape."""
    return np.asarray(norm.cdf(-ability) ** SEVERITY_POWER[level], np.float64)


def true_ratings(severity: F8) -> F8:
    """Ratings that a judge without error would give; (n, faults) to (n, criteria), in [0, 1]."""
    weights = np.zeros((len(FAULTS), len(CRITERIA)))
    for column, criterion in enumerate(CRITERIA):
        for fault, weight in WEIGHTS[criterion].items():
            weights[FAULTS.index(fault), column] = weight
    return np.asarray(1.0 - severity @ weights, np.float64)


def marks(truth: F8, noise_sd: F8, rng: np.random.Generator) -> F8:
    """What one judge writes down, as a share of the maximum; (n, criteria)."""
    common = rng.normal(size=(len(truth), 1))
    own = rng.normal(size=truth.shape)
    noise = np.sqrt(HALO) * common + np.sqrt(1.0 - HALO) * own
    points = np.asarray([POINTS[name] for name in CRITERIA], np.float64)
    return np.asarray(
        np.rint(np.clip(truth + noise_sd * noise, 0.0, 1.0) * points) / points, np.float64
    )


@cache
def judge_sd(level: str, reliability: float) -> F8:
    """Noise of each criterion, float64 (criteria,).

    It follows from the spread of the level's students at large, so that it does not change with
    ``scale``.
    """
    rng = np.random.default_rng(2013)
    spread = true_ratings(severities(_abilities(rng, _SAMPLE), level)).std(axis=0)
    return np.asarray(spread * np.sqrt(1.0 / reliability - 1.0), np.float64)


def _abilities(rng: np.random.Generator, n: int) -> F8:
    """Abilities of ``n`` new students on the day, (n, faults)."""
    general = rng.normal(size=(n, 1))
    rest = rng.normal(size=(n, len(FAULTS)))
    return np.asarray(np.sqrt(GENERAL) * general + np.sqrt(1.0 - GENERAL) * rest, np.float64)


def _ability(player: str, year: int, served: int, seed: int, level: str) -> F8:
    """Ability by fault, (faults,): the student's own, the years', and the day's."""
    own = seeded(seed, "student", level, player)
    day = seeded(seed, "day", level, player, str(year))
    general, particular = own.normal(), own.normal(size=len(FAULTS))
    form = day.normal(size=len(FAULTS))
    z = np.sqrt(GENERAL) * general + np.sqrt(PARTICULAR) * particular + np.sqrt(OF_THE_DAY) * form
    return np.asarray(z + GROWTH * served, np.float64)


def _rosters(
    sizes: dict[tuple[str, int], int], grades: int, seed: int, level: str
) -> dict[tuple[str, int], list[tuple[str, int]]]:
    """Students of each instrument and year, and how many years each has come before.

    At most half of a year has come the year before.
    """
    rosters: dict[tuple[str, int], list[tuple[str, int]]] = {}
    new = dict.fromkeys(RECORDINGS[level], 0)
    for (instrument, year), size in sizes.items():
        rng = seeded(seed, "roster", level, instrument, str(year))
        before = rosters.get((instrument, year - 1), [])
        back = [(name, n + 1) for name, n in before if n + 1 < grades and rng.random() < RETURNS]
        back = back[: size // 2]
        fresh = range(new[instrument] + 1, new[instrument] + 1 + size - len(back))
        new[instrument] += size - len(back)
        rosters[instrument, year] = back + [(f"{instrument}_{n:04d}", 0) for n in fresh]
    return rosters
