"""A stretch of a performance, cut out at beats, with what sounds and what is pedalled in it."""

from __future__ import annotations

import numpy as np

from pianoeval.midi.io import Performance

# Beats are annotated at one note of a chord; others of it may be struck a little before.
EARLY_S = 0.05
EARLY_BEATS = 0.125


def cut(performance: Performance, start_s: float, end_s: float, beat_s: float = 0.5) -> Performance:
    """Notes struck from ``start_s`` up to ``end_s``, both moved ``early`` ahead; time starts at 0.

    Keys are released at ``end_s`` at the latest, so that performances of one place end at the same
    note. Keys held from before are left out; a pedal held from before is down from the start.

    Parameters
    ----------
    beat_s : float
        Length of a beat around the place; ``early`` is ``EARLY_BEATS`` of it, at most ``EARLY_S``.
    """
    early = min(EARLY_S, EARLY_BEATS * beat_s)
    first, last = start_s - early, end_s - early
    inside = (performance.onset_s >= first) & (performance.onset_s < last)
    onset = performance.onset_s[inside]
    offset = np.minimum(performance.offset_s[inside], end_s)
    times, values = performance.pedal_time_s, performance.pedal_value
    within = (times > first) & (times < last)
    before = values[times <= first]
    pedal = [(0.0, int(before[-1]))] if len(before) else []
    pedal += [
        (float(time - first), int(value))
        for time, value in zip(times[within], values[within], strict=True)
    ]
    notes = zip(
        (onset - first).tolist(), (np.maximum(offset, onset + 1e-3) - first).tolist(),
        performance.pitch_midi[inside].tolist(), performance.velocity[inside].tolist(),
        strict=True,
    )  # fmt: skip
    return Performance.from_notes(notes, pedal)
