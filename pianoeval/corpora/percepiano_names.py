"""PercePiano's file names and its nineteen dimensions.

A name is ``<piece>_<N>bars_<player>_<segment>``. Upstream's README states the last two the other
way round; its code and the notes in the files agree with the order used here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pianoeval.errors import BadInputError

_NAME = re.compile(
    r"(?P<piece>[A-Za-z]+_[A-Za-z]*\d+_[A-Za-z0-9.]+)_(?P<bars>\d+)bars"
    r"_(?P<player>\d+|Score2?)_(?P<segment>\d+)"
)
_COMPOSERS = {"Beethoven": "Ludwig van Beethoven", "Schubert": "Franz Schubert"}
# Movement by composition and the piece's last part. The theme and the variations of WoO 80 are
# one movement: they share their harmony, and each lasts eight bars.
_MOVEMENTS = {("D960", "mv2"): "D960-ii", ("D960", "mv3"): "D960-iii", ("D935", "no.3"): "D935-3"}


@dataclass(frozen=True)
class Name:
    """One parsed clip name."""

    clip: str
    piece: str
    bars: int
    performer: str
    number: str
    composer: str
    composition: str
    movement: str

    @property
    def is_score_render(self) -> bool:
        """A deadpan rendering of the score, rated like a performance."""
        return self.performer.startswith("Score")

    @property
    def player(self) -> str:
        """Unique in the corpus: player 3 of D 960 and player 3 of D 935 are two people.

        ``Score`` and ``Score2`` are one player: some of their files are byte-identical.
        """
        return f"{self.composition}/{'Score' if self.is_score_render else self.performer}"

    @property
    def take(self) -> str:
        return "2" if self.performer == "Score2" else "1"

    @property
    def segment(self) -> str:
        """Movement, number of bars and segment number: 8-bar and 16-bar numbers overlap."""
        return f"{self.movement}/{self.bars}bars/{int(self.number):02d}"

    @property
    def score_clip(self) -> str:
        """Name of the deadpan rendering of this segment."""
        return f"{self.piece}_{self.bars}bars_Score_{self.number}"


def parse_name(text: str) -> Name:
    """Parse a file stem or label key; surrounding blanks are ignored (one file starts with one).

    Raises
    ------
    BadInputError
        The text is not a PercePiano name.
    """
    clip = text.strip()
    match = _NAME.fullmatch(clip)
    if match is None:
        raise BadInputError(
            f"'{clip}' is not a PercePiano name",
            allowed="<piece>_<N>bars_<player>_<segment>",
            next_step="pianoeval corpus get percepiano",
        )
    composer, composition, part = match["piece"].split("_")
    return Name(
        clip=clip,
        piece=match["piece"],
        bars=int(match["bars"]),
        performer=match["player"],
        number=match["segment"],
        composer=_COMPOSERS.get(composer, composer),
        composition=composition,
        movement=_MOVEMENTS.get(
            (composition, part), composition if composition == "WoO80" else f"{composition}-{part}"
        ),
    )


@dataclass(frozen=True)
class Dimension:
    """One rated quality; ``higher_is_better`` is None where the scale has no better end."""

    name: str
    low_pole: str
    high_pole: str
    higher_is_better: bool | None = None


# In the order of the label file and of the questions in the raw ratings. Only the last scale and
# `balance` name a fault at one end; on the others either end can suit the music.
DIMENSIONS: tuple[Dimension, ...] = (
    Dimension("timing", "stable", "unstable"),
    Dimension("articulation_length", "short", "long"),
    Dimension("articulation_touch", "soft", "hard"),
    Dimension("pedal_amount", "dry", "wet"),
    Dimension("pedal_clarity", "clean", "blurred"),
    Dimension("timbre_variety", "even", "colourful"),
    Dimension("timbre_depth", "shallow", "rich"),
    Dimension("timbre_brightness", "bright", "dark"),
    Dimension("timbre_loudness", "soft", "loud"),
    Dimension("dynamic_sophistication", "mellow", "raw"),
    Dimension("dynamic_range", "little", "large"),
    Dimension("pace", "fast", "slow"),
    Dimension("space", "flat", "spacious"),
    Dimension("balance", "disproportioned", "balanced", True),
    Dimension("drama", "pure", "dramatic"),
    Dimension("mood_valence", "optimistic", "dark"),
    Dimension("mood_energy", "low", "high"),
    Dimension("mood_imagination", "honest", "imaginative"),
    Dimension("interpretation", "doubtful", "convincing", True),
)
