"""A directory in the layout of the Florida all-state auditions; every number in it is made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from openpyxl import Workbook

RATE_HZ = 22_050
# Start, length and tone of the five segments of a recording; the second one is the technical.
SEGMENTS = ((0.5, 1.5), (2.5, 2.25), (5.0, 1.2), (6.5, 1.2), (8.0, 1.5))
TONES_HZ = (300.0, 500.0, 700.0, 900.0, 1100.0)
END_S = 10.0
SEGMENT_HEADING = "// data format: start_time(sec)\tduration(sec)"
CODES = {"Alto Saxophone": "axs", "Bb Clarinet": "bcl", "Flute": "flu", "Trumpet": "tru"}
ACTIVITIES = ("lyricalEtude", "technicalEtude", "scalesChromatic", "scalesMajor", "sightReading")


def write_recording(path: Path) -> None:
    """Five tones, each in its segment, and silence between."""
    time_s = np.arange(round(END_S * RATE_HZ)) / RATE_HZ
    sound = np.zeros_like(time_s)
    for (start, length), hz in zip(SEGMENTS, TONES_HZ, strict=True):
        inside = (time_s >= start) & (time_s < start + length)
        sound += inside * 0.3 * np.sin(2 * np.pi * hz * time_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, RATE_HZ, format="MP3")


def segment_text(rows: Sequence[Sequence[float]] = SEGMENTS, heading: str = SEGMENT_HEADING) -> str:
    lines = ["\t".join(f"{value:.3f}" for value in row) for row in rows]
    return "\n".join([*([heading] if heading else []), *lines]) + "\n"


def cell(row: int, column: int, student: int) -> float:
    """A rating that no other cell of the student's table has."""
    return round((row * 26 + column) / 260 * 0.9 + (student % 10) * 0.0001, 4)


def assessment_text(student: int, changes: Mapping[tuple[int, int], float] | None = None) -> str:
    lines = ["// assessments: range 0.00 (poor)...1.00 (excellent); -1.0 indicates no assessment."]
    for row in range(10):
        values = [(changes or {}).get((row, c), cell(row, c, student)) for c in range(26)]
        lines.append("\t".join(f"{value:.4f}" for value in values))
    return "\n".join(lines) + "\n"


def instrument_text(instrument: str, activities: Sequence[str] = ACTIVITIES) -> str:
    heading = "// data format: instrument name(str)\tactivity name(str)\n"
    return heading + "".join(f"{CODES[instrument]}\t{name}\n" for name in activities)


def write_student(folder: Path, student: int, instrument: str | None = None) -> Path:
    """Annotations of one student; with ``instrument`` a file that names it."""
    own = folder / str(student)
    own.mkdir(parents=True, exist_ok=True)
    (own / f"{student}_segment.txt").write_text(segment_text(), encoding="utf-8")
    (own / f"{student}_assessments.txt").write_text(assessment_text(student), encoding="utf-8")
    (own / f"{student}_pyin_pitchtrack.txt").write_text("0.0,440.0\n", encoding="utf-8")
    if instrument:
        text = instrument_text(instrument)
        (own / f"{student}_instrument.txt").write_text(text, encoding="utf-8")
    return own


def write_list(path: Path, students: Mapping[str, Sequence[object]]) -> None:
    """A spreadsheet whose first column holds an instrument and below it its students."""
    book = Workbook()
    sheet = book.active
    sheet.append(["Row Labels", "Sum of Score"])
    for instrument, numbers in students.items():
        sheet.append([instrument, 100])
        for number in numbers:
            sheet.append([number, 50])
    sheet.append(["Grand Total", 1000])
    book.save(path)


def write_long(path: Path, students: Mapping[str, Sequence[object]]) -> None:
    """A spreadsheet with a row a score, on its second sheet."""
    book = Workbook()
    book.active.append(["Summary"])
    sheet = book.create_sheet("Raw Data")
    sheet.append(["Rank", "Student", "Instrument", "ScoreGroup", "Description", "Score"])
    for instrument, numbers in students.items():
        for number in numbers:
            for score in ("Note Accuracy", "Rhythmic Accuracy"):
                sheet.append([1, number, instrument, "Technical Etude", score, 8])
    book.save(path)


def make_fba(folder: Path) -> Path:
    """Two years in the two layouts that are in use; 10 auditions of the middle school are good."""
    recording = folder / "tone.mp3"
    write_recording(recording)
    sound = recording.read_bytes()
    recording.unlink()
    old, new = folder / "FBA2013", folder / "MIG-FbaData" / "FBA2016"
    plan = {
        (old / "middleschoolscores", folder / "2013-2014" / "middleschoolscores"): {
            "Alto Saxophone": [28001, 28002], "Bb Clarinet": [28011, 28012], "Flute": [28021],
            "Trumpet": [28031],
        },
        (old / "symphonicbandscores", folder / "2013-2014" / "symphonicbandscores"): {
            "Flute": [28121],
        },
        (new / "middleschool" / "assessments", folder / "audio" / "2016-2017" / "middle-school"): {
            "Alto Saxophone": [62001], "Bb Clarinet": [62011, 62012], "Flute": [62021, 62022],
        },
    }  # fmt: skip
    for (annotated, recordings), students in plan.items():
        for number in (n for numbers in students.values() for n in numbers):
            write_student(annotated, number)
            target = recordings / str(number) / f"{number}.mp3"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(sound)
    tables = list(plan.values())
    write_list(old / "Middle School.xlsx", tables[0])
    write_list(old / "Symphonic Band Scores.xlsx", tables[1])
    write_long(new / "middleschool" / "excelmiddleschool.xlsx", tables[2])
    return folder
