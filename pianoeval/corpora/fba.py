"""Auditions of the Florida Bandmasters Association: pupils on alto saxophone, clarinet and flute.

The data of the published studies of pitch contours (Pati, Gururani, Lerch, Applied Sciences 8(4),
2018; Seshadri, Lerch, ISMIR 2021). It is private and is not part of this package: this loader is
for those who have it. A clip is the technical exercise of one audition, cut out of its recording by
``start_s, end_s``; its labels are the ratings of one judge, [0, 1].

* ``player`` is the number of the audition. Numbers are given anew each year, so that one pupil in
  two years is two players: nothing in the data tells.
* All pupils of a year, level and instrument play one exercise: it is the segment, the movement, the
  composition and the content group. There are no notes to find other groups by.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd

from pianoeval.atomic import write_output
from pianoeval.corpora.fba_files import (
    ACTIVITIES,
    ASSESSMENTS,
    AUDITIONS,
    CRITERIA,
    LEFT_OUT,
    RECORDING,
    SEGMENTS,
    Audition,
    instrument_name,
    read_activities,
    read_ratings,
    read_span,
)
from pianoeval.corpora.fba_tables import read_csv
from pianoeval.corpora.folder import audio_duration_s
from pianoeval.corpora.manifest import MANIFEST_COLUMNS, write_labels, write_manifest
from pianoeval.corpora.receipt import Receipt, copy_files, read_receipt, resolved_file
from pianoeval.errors import BadInputError
from pianoeval.params import CorpusParams, MidiLimits

log = logging.getLogger(__name__)


def ingest(
    params: CorpusParams, name: str, raw: Path, out: Path, limits: MidiLimits
) -> dict[str, str]:
    """Write ``manifest, labels`` (Parquet), ``left_out.json`` and ``audio/`` below ``out``.

    ``left_out.json`` names auditions that are no clips although their files may be sound: those
    that the published studies leave out, and those of an unknown instrument.

    Returns
    -------
    dict of str to str
        Quarantined clips with their reason.

    Raises
    ------
    BadInputError
        Fetched for another level, or no audition can be used.
    """
    again = f"pianoeval corpus get {name} --from DIR"
    receipt = read_receipt(raw, again)
    rows: list[dict[str, object]] = []
    labels: list[dict[str, object]] = []
    quarantined: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for one in _auditions(raw, params.level, again):
        if one.is_bad(params.level):
            left_out[one.clip] = "left out by the published studies: bad recording or annotation"
        elif not one.instrument:
            left_out[one.clip] = "no table and no _instrument.txt names its instrument"
        else:
            try:
                row = _row(one, name, raw, out, receipt, params.level, limits)
                labels += _labels(one, raw)
                rows.append(row)
            except BadInputError as error:
                quarantined[one.clip] = str(error)
    if not rows:
        reason = next(iter(quarantined.values()), "all are left out")
        raise BadInputError(f"no audition can be used: {reason}", where=raw, next_step=again)
    recordings = [str(row["audio_path"]).removeprefix(f"{out.name}/audio/") for row in rows]
    copy_files(raw, out / "audio", recordings, link=True)
    table = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
    write_manifest(table, out / "manifest.parquet")
    write_labels(pd.DataFrame(labels), out / "labels.parquet")
    write_output(out / LEFT_OUT, json.dumps(left_out, indent=1, sort_keys=True) + "\n")
    _tell(name, table, len(left_out), len(quarantined))
    return quarantined


def _tell(name: str, table: pd.DataFrame, left_out: int, quarantined: int) -> None:
    sizes = (f"{count} {kind}" for kind, count in table["instrument"].value_counts().items())
    log.info(
        "%s: %d clips (%s), %.0f s on average, %d left out, %d quarantined", name, len(table),
        ", ".join(sizes), (table["end_s"] - table["start_s"]).mean(), left_out, quarantined,
    )  # fmt: skip


def _auditions(raw: Path, level: str, again: str) -> list[Audition]:
    found = read_csv(raw / AUDITIONS)
    other = sorted({row["level"] for row in found} - {level})
    if other:
        raise BadInputError(
            f"fetched for the level '{other[0]}', not '{level}'", where=raw / AUDITIONS,
            allowed="corpora.NAME.level as it was when the corpus was fetched", next_step=again,
        )  # fmt: skip
    return [Audition(int(row["year"]), row["student"], row["instrument"]) for row in found]


def _row(
    one: Audition, corpus: str, raw: Path, out: Path, receipt: Receipt, level: str,
    limits: MidiLimits,
) -> dict[str, object]:  # fmt: skip
    recording = _needed(raw, one, RECORDING)
    activities = resolved_file(raw, one.file(ACTIVITIES))
    if activities is not None:
        _check_instrument(one, activities)
    start_s, end_s = read_span(_needed(raw, one, SEGMENTS), activities)
    duration_s = audio_duration_s(recording, limits)
    if end_s > duration_s:
        raise BadInputError(
            f"the technical exercise ends at {end_s:.2f} s, the recording at {duration_s:.2f} s",
            where=one.file(SEGMENTS), next_step="mend the annotation or leave the audition out",
        )  # fmt: skip
    exercise = f"{one.year}/{level}/{one.instrument}"
    return {
        "clip": one.clip, "corpus": corpus, "corpus_version": receipt.version,
        "licence": receipt.licence, "redistributable": False,
        "audio_path": f"{out.name}/audio/{one.file(RECORDING)}", "midi_path": None,
        "score_path": None, "start_s": start_s, "end_s": end_s,
        "sha256": receipt.files[one.file(RECORDING)], "source": "acoustic", "composer": None,
        "composition": exercise, "movement": exercise, "segment": exercise,
        "content_group": exercise, "instrument": one.instrument, "player": one.student,
        "is_score_render": False, "take": "1", "parent": None, "tier": 0,
    }  # fmt: skip


def _check_instrument(one: Audition, activities: Path) -> None:
    code = read_activities(activities)
    if instrument_name(code) != one.instrument:
        raise BadInputError(
            f"the table says {one.instrument}, this file '{code}'", where=activities,
            next_step="mend one of the two",
        )  # fmt: skip


def _needed(raw: Path, one: Audition, kind: str) -> Path:
    path = resolved_file(raw, one.file(kind))
    if path is None:
        raise BadInputError(
            f"no {kind.lstrip('_.')}", where=one.file(kind),
            next_step="add the file, or leave the audition out",
        )  # fmt: skip
    return path


def _labels(one: Audition, raw: Path) -> list[dict[str, object]]:
    values = read_ratings(_needed(raw, one, ASSESSMENTS))
    return [
        {
            "clip": one.clip, "task": "rating", "dimension": name, "value": values[name],
            "n_raters": 1, "sd": None, "low_pole": None, "high_pole": None,
            "higher_is_better": True,
        }
        for name in CRITERIA
    ]  # fmt: skip
