"""Random corpora and their notes, for properties that hold whatever the corpus looks like."""

from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd
from hypothesis import strategies as st

from pianoeval.midi.io import Performance

GROUPS = ["composition", "movement", "content_group", "segment", "player", "is_score_render"]


@st.composite
def corpora(draw: st.DrawFn, max_clips: int = 40) -> pd.DataFrame:
    """Irregular corpora: segments inside content groups inside movements, players anywhere.

    Some clips are degraded versions, further renders of a take, or byte-identical to others.
    """
    n = draw(st.integers(2, max_clips))
    rows: list[dict[str, object]] = []
    for i in range(n):
        movement = draw(st.integers(0, 4))
        group = draw(st.integers(0, 2))
        segment = draw(st.integers(0, 1))
        row = {
            **cases.ROW,
            "clip": f"c{i:02d}",
            # Few digests, so that byte-identical clips link groups now and then.
            "sha256": f"d{draw(st.integers(0, 60))}",
            "composition": f"k{movement // 2}",
            "movement": f"m{movement}",
            "content_group": f"m{movement}g{group}",
            "segment": f"m{movement}g{group}s{segment}",
            "player": f"p{draw(st.integers(0, 5))}",
            "is_score_render": False,
            "take": str(draw(st.integers(1, 2))),
        }
        if row["player"] == "p5":
            row |= {"player": None, "is_score_render": True}
        if rows and draw(st.integers(0, 4)) == 0:
            source = draw(st.sampled_from(rows))
            row |= {name: source[name] for name in [*GROUPS, "take"]}
            row |= {"parent": source["clip"], "tier": 1}
        rows.append(row)
    return pd.DataFrame(rows)


def performances(manifest: pd.DataFrame, seed: int = 0) -> dict[str, Performance]:
    """Every clip plays its content group's notes, in time and touch of its own."""
    random = np.random.default_rng(seed)
    music = {name: random.integers(40, 90, 24) for name in sorted(set(manifest["content_group"]))}
    played: dict[str, Performance] = {}
    for clip, group in manifest[["clip", "content_group"]].itertuples(index=False):
        onset = np.cumsum(random.uniform(0.15, 0.5, len(music[group])))
        velocity = random.integers(30, 100, len(onset))
        notes = zip(onset, onset + 0.14, music[group], velocity, strict=True)
        played[clip] = Performance.from_notes(
            [(float(a), float(b), int(p), int(v)) for a, b, p, v in notes]
        )
    return played


def saved_again(performance: Performance, shift_s: float = 1.25) -> Performance:
    """The same performance later, softer, without pedal, its onsets rounded to 4 ms."""
    onset = np.round((performance.onset_s + shift_s) / 0.004) * 0.004
    lengths = performance.offset_s - performance.onset_s
    columns = (onset, onset + lengths, performance.pitch_midi, performance.velocity * 0.8)
    return Performance.from_notes(
        [(float(a), float(b), int(p), int(v)) for a, b, p, v in zip(*columns, strict=True)]
    )
