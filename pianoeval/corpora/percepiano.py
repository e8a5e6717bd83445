"""PercePiano: 1,202 short piano performances, nineteen perceptual qualities each.

Park, Kim et al., "PercePiano: a dataset for perceptual evaluation of piano performance",
Scientific Reports, 2024. Repository: JonghoKimSNU/PercePiano, MIT licence.

What the files are, measured: 1,073 human performances and 129 deadpan renderings of the score;
4 movements of 3 compositions; 99 segments that fall into 45 content groups. What is odd in them
is listed in docs/corpora.md, and every item of that list has a test.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections import defaultdict
from pathlib import Path

import pandas as pd

from pianoeval.corpora.content_groups import (
    content_groups,
    note_stream,
    shared_fraction,
    shared_notes,
)
from pianoeval.corpora.manifest import write_labels, write_manifest
from pianoeval.corpora.percepiano_names import Name, parse_name
from pianoeval.corpora.percepiano_ratings import (
    LABELS_FILE,
    RATINGS_FILE,
    label_table,
    read_means,
    read_ratings,
)
from pianoeval.corpora.upstream import PERCEPIANO
from pianoeval.errors import BadInputError, quoted
from pianoeval.midi.io import Performance, read_midi
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.provenance import sha256_file
from pianoeval.tablefile import write_table

log = logging.getLogger(__name__)

VERSION = PERCEPIANO.commit
LICENCE = PERCEPIANO.licence
MIDI_FOLDER = "virtuoso/data/all_2rounds"
SCORE_FOLDER = "virtuoso/data/score_midi"
# Every clip but one shares at least .54 of its notes with its score; strangers at most .17.
_MISMATCH = 0.3
_NEXT = "pianoeval corpus get percepiano"


def ingest(
    params: CorpusParams, name: str, raw: Path, out: Path, limits: MidiLimits
) -> dict[str, str]:
    """Write ``manifest, labels, ratings`` (Parquet), ``notes.json`` and ``midi/`` below ``out``.

    ``notes.json`` holds what a reader should know and no split needs: clips whose notes are not
    those of their segment, and sets of clips with byte-identical MIDI (their labels differ).

    Returns
    -------
    dict of str to str
        Quarantined clips with their reason.

    Raises
    ------
    BadInputError
        Files are missing, or labels and MIDI files are not about the same clips.
    """
    means = read_means(_needed(raw / LABELS_FILE))
    ratings = read_ratings(_needed(raw / RATINGS_FILE), set(means))
    files = _midi_files(raw, set(means))
    names = {clip: parse_name(clip) for clip in means}
    scores = _scores(raw, names, limits)
    played, quarantined = _performances(files, limits)
    groups = content_groups({key: note_stream(score) for key, (_, score) in scores.items()})

    midi = out / "midi"
    (midi / "score").mkdir(parents=True, exist_ok=True)
    for path, _ in scores.values():
        shutil.copyfile(path, midi / "score" / path.name)
    rows = []
    for clip, performance in played.items():
        target = midi / f"{clip}.mid"
        shutil.copyfile(files[clip], target)
        rows.append(_row(names[clip], name, performance, target, out, groups))
    write_manifest(pd.DataFrame(rows), out / "manifest.parquet")
    kept = {clip: values for clip, values in means.items() if clip in played}
    write_labels(label_table(kept, ratings), out / "labels.parquet")
    write_table(ratings[ratings["clip"].isin(kept)], out / "ratings.parquet")
    notes = {
        "content_mismatch": _mismatches(names, played, scores),
        "identical_midi": _identical({str(row["clip"]): str(row["sha256"]) for row in rows}),
    }
    (out / "notes.json").write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    log.info("%d clips, %d segments, %d content groups", len(rows), len(scores),
             len(set(groups.values())))  # fmt: skip
    return quarantined


def _needed(path: Path) -> Path:
    if not path.is_file():
        raise BadInputError("no such file", where=path, next_step=_NEXT)
    return path


def _midi_files(raw: Path, clips: set[str]) -> dict[str, Path]:
    """MIDI file of each clip; one file's name starts with a blank, which is no part of the name."""
    files: dict[str, Path] = {}
    for path in sorted((raw / MIDI_FOLDER).glob("*.mid")):
        if (clip := path.stem.strip()) in files:
            again = f"rm {quoted(path)}"
            raise BadInputError(f"two files for '{clip}'", where=path, next_step=again)
        files[clip] = path
    unheard, unlabelled = sorted(clips - set(files)), sorted(set(files) - clips)
    for what, those in (("labels without MIDI", unheard), ("MIDI without labels", unlabelled)):
        if those:
            raise BadInputError(
                f"{len(those)} {what}, first {', '.join(those[:3])}", where=raw, next_step=_NEXT
            )
    return {clip: files[clip] for clip in sorted(files)}


def _scores(
    raw: Path, names: dict[str, Name], limits: MidiLimits
) -> dict[str, tuple[Path, Performance]]:
    """Deadpan rendering of every segment.

    Taken from ``score_midi``, not from the rated ``Score`` clips: of those, three (D 935 no. 3,
    segments 25, 42 and 50) are not deadpan in velocity.
    """
    scores: dict[str, tuple[Path, Performance]] = {}
    for name in names.values():
        if name.segment not in scores:
            path = _needed(raw / SCORE_FOLDER / f"{name.score_clip}.mid")
            scores[name.segment] = (path, read_midi(path, limits))
    return scores


def _performances(
    files: dict[str, Path], limits: MidiLimits
) -> tuple[dict[str, Performance], dict[str, str]]:
    played: dict[str, Performance] = {}
    quarantined: dict[str, str] = {}
    for clip, path in files.items():
        try:
            played[clip] = read_midi(path, limits)
        except BadInputError as error:
            quarantined[clip] = str(error)
    return played, quarantined


def _row(
    name: Name, corpus: str, performance: Performance, midi: Path, out: Path, groups: dict[str, str]
) -> dict[str, object]:
    return {
        "clip": name.clip,
        "corpus": corpus,
        "corpus_version": VERSION,
        "licence": LICENCE,
        "redistributable": True,
        "audio_path": None,
        "midi_path": f"{out.name}/midi/{midi.name}",
        "score_path": f"{out.name}/midi/score/{name.score_clip}.mid",
        "start_s": 0.0,
        "end_s": performance.end_s,
        "sha256": sha256_file(midi),
        "source": "synthetic" if name.is_score_render else "disklavier",
        "composer": name.composer,
        "composition": name.composition,
        "movement": name.movement,
        "segment": name.segment,
        "content_group": groups[name.segment],
        "instrument": None,
        "player": name.player,
        "is_score_render": name.is_score_render,
        "take": name.take,
        "parent": None,
        "tier": 0,
    }


def _mismatches(
    names: dict[str, Name],
    played: dict[str, Performance],
    scores: dict[str, tuple[Path, Performance]],
) -> dict[str, str]:
    """Clips that do not play their segment's notes. They stay: their labels are real ratings."""
    flags: dict[str, str] = {}
    streams = {segment: note_stream(score) for segment, (_, score) in scores.items()}
    for clip, performance in played.items():
        segment = names[clip].segment
        stream, score = note_stream(performance), streams[segment]
        needed = math.ceil(_MISMATCH * min(len(stream), len(score)))
        if shared_notes(stream, score, needed) < needed:
            part = shared_fraction(stream, score)
            flags[clip] = f"shares {part:.0%} of its notes with the score of {segment}"
            log.warning("%s %s", clip, flags[clip])
    return flags


def _identical(hashes: dict[str, str]) -> list[list[str]]:
    """Sets of clips with the same MIDI bytes; each clip keeps its own labels."""
    sets: dict[str, list[str]] = defaultdict(list)
    for clip, digest in hashes.items():
        sets[digest].append(clip)
    return [clips for clips in sets.values() if len(clips) > 1]
