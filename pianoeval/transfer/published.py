"""What "Audio foundation models outperform symbolic representations" (2026) reports, section 5.

Its dimensions carry PercePiano's names here; its "mean intra-piece standard deviation" is read as
the mean over dimensions of each one's sd, not the sd of their mean. Other corpora than ours:
difficulty on 508 pieces of PSyllabus (levels 0 to 10), performers on 206 pieces of ASAP; whole
pieces, not excerpts.
"""

from __future__ import annotations

MEAN_OF_DIMENSIONS = "mean_of_dimensions"
DIFFICULTY: dict[str, float] = {
    "overall": 0.623, "timing": 0.604, "mood_valence": 0.604, "timbre_depth": 0.580,
    "pedal_amount": 0.578,
}  # fmt: skip
PERFORMER_SD: dict[str, float] = {
    MEAN_OF_DIMENSIONS: 0.020, "dynamic_range": 0.027, "timing": 0.022, "articulation_touch": 0.020,
    "mood_energy": 0.011, "timbre_brightness": 0.011,
}  # fmt: skip
