"""A directory of recordings as a corpus.

Recordings are ``.mid .midi .wav .flac .mp3 .ogg`` anywhere below the directory; hidden files are
ignored. A MIDI and an audio file of the same path but for the suffix are one clip. The clip is
named after its path: ``exam/anna 1.wav`` is the clip ``exam--anna 1``.

``labels.csv`` (optional, at the top of the directory) has a column ``file`` (path) or ``clip``
and is either *wide*, every further column a dimension, or *long*, with columns ``dimension`` and
``value`` and, where known, ``task, n_raters, sd, low_pole, high_pole, higher_is_better``. With a
column ``rater`` the rows are single ratings: labels are their means. A recording has labels of all
dimensions of a task or of none; a single rater may leave cells empty.

Metadata are columns of ``metadata.csv`` or of ``labels.csv``: ``composer, composition, movement
(or piece), segment, player, take, instrument, source, score``; ``score`` is the path of a MIDI
file that plays the same notes without expression (it is then no clip itself). What is not given:

* ``content_group`` is never given: it is found from the notes (``content_groups``) and from
  equal segments; audio without MIDI and without a segment is a group of its own
* ``segment`` = content group; ``movement`` = content group; ``composition`` = movement
  (a movement's name must be unique in the corpus, a segment's in its movement)
* ``player`` = ``unknown``; ``take`` counts the clips of one player and segment
"""

from __future__ import annotations

import logging
import shutil
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from pianoeval.corpora.content_groups import Stream, content_groups, natural_key, note_stream
from pianoeval.corpora.fetch import MEDIA_SUFFIXES, list_folder
from pianoeval.corpora.folder_tables import read_labels_csv, read_metadata
from pianoeval.corpora.manifest import MANIFEST_COLUMNS, write_labels, write_manifest
from pianoeval.corpora.receipt import RECEIPT, read_receipt, resolved_file
from pianoeval.errors import BadInputError
from pianoeval.midi.io import read_midi
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.provenance import sha256_file
from pianoeval.soundheader import sound_header
from pianoeval.tablefile import write_table

log = logging.getLogger(__name__)

# File names may have 255 bytes; suffixes and the marks of degraded versions are added to a clip's.
MAX_NAME_BYTES = 200
MIDI_SUFFIXES = frozenset({".mid", ".midi"})


@dataclass(frozen=True)
class _Clip:
    """One recording: paths relative to the folder, and what was found in the files."""

    midi: str | None
    audio: str | None
    stream: Stream
    end_s: float


def ingest(
    params: CorpusParams, name: str, raw: Path, out: Path, limits: MidiLimits
) -> dict[str, str]:
    """Write ``manifest.parquet``, ``labels.parquet``, ``midi/`` and ``audio/`` below ``out``.

    ``ratings.parquet`` is written when ``labels.csv`` names raters. Without ``labels.csv`` the
    label table has no rows.

    Returns
    -------
    dict of str to str
        Recordings that cannot be read, with the reason; the caller decides whether that is too
        many.

    Raises
    ------
    BadInputError
        No recordings, two files for one clip, or a table that does not fit the recordings.
    """
    paths = _clip_files(raw)
    clip_of = _aliases(paths)
    metadata = read_metadata(raw, clip_of)
    scores = _scores(raw, paths, clip_of, metadata)
    labels, ratings = read_labels_csv(raw, clip_of)

    clips, quarantined = _read_clips(raw, paths, scores, limits)
    given = {clip: metadata.get(clip, {}) for clip in clips}
    table = _manifest(name, raw, out, clips, given, scores)
    write_manifest(table, out / "manifest.parquet")
    labels = labels[labels["clip"].isin(clips)]
    write_labels(labels, out / "labels.parquet")
    if ratings is not None:
        write_table(ratings[ratings["clip"].isin(clips)], out / "ratings.parquet")
    log.info(
        "%d clips, %d content groups, %d labelled, %d quarantined",
        len(clips), table["content_group"].nunique(), labels["clip"].nunique(), len(quarantined),
    )  # fmt: skip
    return quarantined


def clip_name(file: str) -> str:
    """Name of the clip of a file: its path without suffix, ``/`` written ``--``.

    Raises
    ------
    BadInputError
        The name is longer than a file name may be.
    """
    name = str(PurePosixPath(file).with_suffix("")).replace("/", "--").strip()
    if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
        raise BadInputError(
            f"its path makes a name of {len(name.encode())} bytes", where=file,
            allowed=f"1 to {MAX_NAME_BYTES} bytes", next_step="shorten its path",
        )  # fmt: skip
    return name


def _clip_files(raw: Path) -> dict[str, dict[str, str]]:
    """``{clip: {"midi": path, "audio": path}}`` of a folder."""
    paths: dict[str, dict[str, str]] = defaultdict(dict)
    alike: dict[str, str] = {}
    for file in list_folder(raw):
        suffix = Path(file).suffix.lower()
        if suffix not in MEDIA_SUFFIXES:
            continue
        kind = "midi" if suffix in MIDI_SUFFIXES else "audio"
        clip = clip_name(file)
        folded = unicodedata.normalize("NFC", clip).casefold()
        if (twin := alike.setdefault(folded, clip)) != clip:
            raise BadInputError(
                f"the clips '{twin}' and '{clip}' differ only in capitals or accents", where=raw,
                allowed="names that macOS can tell apart", next_step="rename one of the files",
            )  # fmt: skip
        other = paths[clip].setdefault(kind, file)
        stems = {str(PurePosixPath(path).with_suffix("")) for path in (*paths[clip].values(), file)}
        if other != file or len(stems) > 1:
            raise BadInputError(
                f"'{file}' and '{min(set(paths[clip].values()) - {file})}' are both clip '{clip}'",
                where=raw, allowed="one MIDI and one audio file a clip",
                next_step="rename or remove one of them",
            )  # fmt: skip
    if not paths:
        raise BadInputError(
            "no recordings", where=raw, allowed=" ".join(sorted(MEDIA_SUFFIXES)),
            next_step="pianoeval corpus get NAME --from DIR",
        )  # fmt: skip
    return {clip: paths[clip] for clip in sorted(paths, key=natural_key)}


def _aliases(paths: dict[str, dict[str, str]]) -> dict[str, str]:
    """What a table may call a clip: its files, their path without suffix, or its name.

    macOS may hand out a name with its accents taken apart, and a spreadsheet writes them together:
    both are understood.
    """
    names: dict[str, str] = {}
    for clip, files in paths.items():
        for file in files.values():
            names[file] = clip
            names[str(PurePosixPath(file).with_suffix(""))] = clip
        names[clip] = clip
    for name, clip in list(names.items()):
        for form in ("NFC", "NFD"):
            names.setdefault(unicodedata.normalize(form, name), clip)
    return names


def _scores(
    raw: Path,
    paths: dict[str, dict[str, str]],
    clip_of: dict[str, str],
    metadata: dict[str, dict[str, str]],
) -> dict[str, str]:
    """Score file of each clip that names one; a score stops being a clip (``paths`` is changed)."""
    scores: dict[str, str] = {}
    for clip, cells in metadata.items():
        if "score" in cells:
            score = paths.get(clip_of.get(cells["score"], ""), {}).get("midi")
            if score is None:
                raise BadInputError(
                    f"'{clip}' names the score '{cells['score']}', which is no MIDI file here",
                    where=raw, next_step="add the file or empty the cell",
                )  # fmt: skip
            scores[clip] = score
    for score in set(scores.values()):
        if clip_of[score] in scores:
            raise BadInputError(f"'{score}' is a score and has one", where=raw,
                                next_step="empty one of the two cells")  # fmt: skip
        del paths[clip_of[score]]
    return scores


def _read_clips(
    raw: Path, paths: dict[str, dict[str, str]], scores: dict[str, str], limits: MidiLimits
) -> tuple[dict[str, _Clip], dict[str, str]]:
    clips: dict[str, _Clip] = {}
    quarantined: dict[str, str] = {}
    for clip, files in paths.items():
        try:
            if clip in scores:
                read_midi(_inside(raw, scores[clip]), limits)
            clips[clip] = _read_clip(raw, files, limits)
        except BadInputError as error:
            quarantined[clip] = str(error)
    if not clips:
        clip, reason = next(iter(quarantined.items()), ("", "only scores"))
        raise BadInputError(
            f"none of {len(quarantined)} recordings can be read, first '{clip}': {reason}",
            where=raw, next_step="mend the files, then: pianoeval corpus get NAME --from DIR",
        )  # fmt: skip
    return clips, quarantined


def _read_clip(raw: Path, files: dict[str, str], limits: MidiLimits) -> _Clip:
    stream, end_s = np.empty(0, np.int16), 0.0
    if "midi" in files:
        performance = read_midi(_inside(raw, files["midi"]), limits)
        stream, end_s = note_stream(performance), performance.end_s
    if "audio" in files:
        end_s = audio_duration_s(_inside(raw, files["audio"]), limits)
    return _Clip(files.get("midi"), files.get("audio"), stream, end_s)


def _inside(raw: Path, file: str) -> Path:
    path = resolved_file(raw, file)
    if path is None:
        raise BadInputError("not a regular file", where=raw / file, next_step="remove the file")
    return path


def audio_duration_s(path: Path, limits: MidiLimits) -> float:
    """Duration from the header; the samples are decoded when the clip is rendered."""
    frames, rate_hz = sound_header(path)
    duration_s = frames / rate_hz
    if not 0 < duration_s <= limits.max_recording_s:
        raise BadInputError(
            f"{duration_s:.0f} s of audio", where=path,
            allowed=f"up to {limits.max_recording_s:g} s (midi.max_recording_s)",
            next_step="cut or remove the file, or raise midi.max_recording_s in params.yaml",
        )  # fmt: skip
    return duration_s


def _manifest(
    name: str, raw: Path, out: Path, clips: dict[str, _Clip],
    given: dict[str, dict[str, str]], scores: dict[str, str],
) -> pd.DataFrame:  # fmt: skip
    segments = {
        # "bars 1-8" of two movements are two segments.
        clip: "/".join(cells[key] for key in ("movement", "segment") if key in cells)
        for clip, cells in given.items()
        if "segment" in cells
    }
    groups = content_groups({clip: found.stream for clip, found in clips.items()}, segments)
    version = read_receipt(raw, "dvc repro").version if (raw / RECEIPT).is_file() else "unversioned"
    takes: dict[tuple[str, str], int] = defaultdict(int)
    rows = []
    for clip, found in clips.items():
        cells = given[clip]
        segment = segments.get(clip, groups[clip])
        player = cells.get("player", "unknown")
        movement = cells.get("movement", groups[clip])
        takes[player, segment] += 1
        rows.append(
            {
                "clip": clip, "corpus": name, "corpus_version": version, "licence": "unknown",
                "redistributable": False,
                "audio_path": _place(raw, found.audio, "audio", out),
                "midi_path": _place(raw, found.midi, "midi", out),
                "score_path": _place(raw, scores.get(clip), "midi/score", out),
                "start_s": 0.0, "end_s": found.end_s,
                # Of the recording that is listened to: audio where there is audio.
                "sha256": sha256_file(raw / str(found.audio or found.midi)),
                "source": cells.get("source", "unknown"), "composer": cells.get("composer"),
                "composition": cells.get("composition", movement), "movement": movement,
                "segment": segment, "content_group": groups[clip],
                "instrument": cells.get("instrument"), "player": player, "is_score_render": False,
                "take": cells.get("take", str(takes[player, segment])), "parent": None, "tier": 0,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))


def _place(raw: Path, file: str | None, folder: str, out: Path) -> str | None:
    """Copy a file to ``out/folder``; its path relative to the corpus, None without a file."""
    if file is None:
        return None
    suffix = Path(file).suffix.lower().replace(".midi", ".mid")
    copy = out / folder / f"{clip_name(file)}{suffix}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not copy.exists():
        shutil.copyfile(_inside(raw, file), copy)
    return f"{out.name}/{copy.relative_to(out).as_posix()}"
