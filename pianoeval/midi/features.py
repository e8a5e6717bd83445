"""Features of a performance alone: what is in the notes and the pedal, without a score.

``FEATURES`` names them with unit and meaning. All are finite for any performance of one note
or more and do not change when the clip is shifted in time. Where a statistic has nothing to
summarise (chords of a single line, presses of an unused pedal) its definition says which
value stands for "none".
"""

from __future__ import annotations

from pianoeval.errors import BadInputError
from pianoeval.midi import (
    features_dynamics,
    features_pedal,
    features_pitch,
    features_time,
    features_touch,
)
from pianoeval.midi.feature import Feature, collect, registry
from pianoeval.midi.io import Performance
from pianoeval.midi.texture import texture

FEATURES: dict[str, Feature] = registry(
    (
        *features_dynamics.SPEC,
        *features_time.SPEC,
        *features_touch.SPEC,
        *features_pedal.SPEC,
        *features_pitch.SPEC,
    )
)

_PARTS = (
    features_dynamics.dynamics,
    features_time.timing,
    features_touch.touch,
    features_pedal.pedalling,
    features_pitch.pitches,
)


def performance_features(performance: Performance) -> dict[str, float]:
    """Every feature of ``FEATURES``, in that order; finite.

    Raises
    ------
    BadInputError
        The performance has no notes.
    """
    if performance.n_notes == 0:
        raise BadInputError("no notes to describe", next_step="remove the clip")
    return collect(_PARTS, texture(performance), FEATURES)
