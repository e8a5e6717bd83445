"""The scores of corpus ``studio``: a pinned table of keyboard music in music21's wheel.

music21 is BSD; its scores come "with the permission of the encoders" under the licence of each
file (its ``corpus/license.txt``), which most files do not state. They are read where pip put
them, and neither they nor what is made from them is passed on.

Tempi are the score's where it gives one, otherwise a usual one, so that bars have a length.
``starts`` are bar numbers where a phrase begins; an excerpt runs on for as many whole bars as
fit the wanted length.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.provenance import sha256_file

NOT_STATED = "music21 corpus: distributed with the encoder's permission, licence not stated"
CC_BY_SA = "CC BY-SA 4.0 (typeset by Cypressdome for IMSLP), from the music21 corpus"
_NEXT = "pip install 'music21==10.5.1'"


@dataclass(frozen=True)
class Work:
    """One movement: where its score is, and how it is played.

    ``pedal`` is the style's need of pedal, 0..1; ``parts`` are the staves that the piano plays
    (all when None); ``bpm`` counts quarter notes.
    """

    slug: str
    path: str
    sha256: str
    composer: str
    composition: str
    movement: str
    bpm: float
    starts: tuple[int, ...]
    pedal: float
    parts: tuple[int, ...] | None = None
    licence: str = NOT_STATED


# Order matters: the first works get a second excerpt first.
WORKS: tuple[Work, ...] = (
    Work(
        # Bars 7-12 repeat 1-6, so two of the starts share a content group.
        "bach-bwv227", "bach/bwv227.1.mxl",
        "bfb591d85185dbda16660295747ead8e9039953a543dc246f8bbc704f60457b0",
        "J. S. Bach", "Jesu, meine Freude BWV 227", "Chorale BWV 227.1", 76, (1, 7, 13, 5, 15, 18),
        0.2,  # the file's 96 is a congregation's pace; on the piano a walking 76
    ),
    Work(
        "chopin-op6-2", "chopin/mazurka06-2.krn",
        "4606771ad674b91c29356d1538d91ac7fa1b704e4974c1ded9517cc9dd3379d3",
        "Frédéric Chopin", "Mazurkas op. 6", "Mazurka op. 6 no. 2", 189,
        (9, 33, 17, 41, 1, 49, 25, 57, 65), 0.95,  # Chopin's own mark, 63 bars a minute
    ),
    Work(
        "schumann-c-op1-1", "schumann_clara/polonaise_op1n1.mxl",
        "e0d33236955c4336fcd896f6b45d3365dd602878c62cab819956ca437edcda4a",
        "Clara Schumann", "Quatre polonaises op. 1", "Polonaise op. 1 no. 1", 96,
        (5, 21, 9, 29, 13, 1, 33, 25, 37, 17), 0.9, licence=CC_BY_SA,  # the trio's mark
    ),
    Work(
        "joplin-maple-leaf", "joplin/maple_leaf_rag.mxl",
        "5fe979be991095d18bb9ee3394bf70d26237e37903ab7e751ee32e30b8e6460a",
        "Scott Joplin", "Maple Leaf Rag", "Maple Leaf Rag", 96,
        (1, 18, 51, 68, 9, 26, 35, 59, 76, 43), 0.35,  # marked 100; Joplin warned of haste
    ),
    Work(
        "mozart-k545-1", "mozart/k545/movement1_exposition.mxl",
        "5b72d6c0ad5aa935865e30e80fc91422b5a131d3f72caf8303cc75d00c5a1556",
        "W. A. Mozart", "Piano Sonata K. 545", "Piano Sonata K. 545 i", 132, (1, 5, 9), 0.2,
    ),
    Work(
        "bach-bwv846", "bach/bwv846.mxl",
        "286535dfb99cf841bfa9848e4cd71ddb2339c476a123971cb326b3d85e410018",
        "J. S. Bach", "The Well-Tempered Clavier I", "Prelude BWV 846", 66,
        (1, 20, 5, 8, 24, 12, 28, 16, 33), 0.35,
    ),
    Work(
        # The piano part doubles the voice, and stands alone.
        "schumann-r-op48-2", "schumann_robert/opus48no2.mxl",
        "c6cb6b24a0afcc87f1fadefa64f12ec095bbb5a61a96e49ba05663fe835a94f2",
        "Robert Schumann", "Dichterliebe op. 48", "Dichterliebe op. 48 no. 2", 50,
        (2, 10, 14, 6), 0.9, parts=(1, 2),
    ),
    Work(
        "bach-cpe-h186-2", "cpebach/h186.mxl",
        "39462c924adce2ebb29a86cbdfe88e0f5d4f23d1c7c537b06853d55f81571a59",
        "C. P. E. Bach", "Keyboard Sonata H. 186", "Keyboard Sonata H. 186 ii", 63,
        (1, 15, 5, 19, 9, 23, 7, 27), 0.4,  # poco adagio
    ),
    Work(
        "schumann-c-op1-3", "schumann_clara/polonaise_op1n3.mxl",
        "f7bda70f1de9f0ffe33404d8d144bf2866a9fd7039542dc3c5a55d81d3faa5c4",
        "Clara Schumann", "Quatre polonaises op. 1", "Polonaise op. 1 no. 3", 92,
        (1, 25, 9, 33, 5, 29, 13, 37, 21, 45), 0.9, licence=CC_BY_SA,
    ),
    Work(
        # The prelude and the interlude of the song, where the voice is silent.
        "schubert-d911-5", "schubert/Lindenbaum.xml",
        "c21685d0697e512aa522bbfdb1f1056fd7521f29035d50b2813b587b2423e977",
        "Franz Schubert", "Winterreise D. 911", "Der Lindenbaum D. 911 no. 5", 60, (1, 3, 25, 5),
        0.8, parts=(1, 2),
    ),
)  # fmt: skip


def score_file(work: Work) -> Path:
    """Where music21 keeps the score, after its bytes have been checked.

    Raises
    ------
    MissingAssetError
        The score is not in the installed music21.
    CorruptDataError
        The file is another version than the one that the bar numbers were chosen from.
    """
    import music21

    path = Path(music21.__file__).parent / "corpus" / work.path
    if not path.is_file():
        raise MissingAssetError(
            "the installed music21 has no such score", where=path, next_step=_NEXT
        )
    found = sha256_file(path)
    if found != work.sha256:
        raise CorruptDataError(
            f"another version of the score (sha256 {found[:12]})", where=path,
            allowed=f"sha256 {work.sha256[:12]}", next_step=_NEXT,
        )  # fmt: skip
    return path
