"""What is said of pYIN beside the known pitch."""

from __future__ import annotations

from pathlib import Path

import mir_eval
import numpy as np
import pytest

from pianoeval.cache import Item
from pianoeval.evaluate.contours import COLUMNS, MEASURES, audit_contours, clip_measures
from pianoeval.store import RaggedStore, write_store

Frames = np.ndarray


def contour(pitches: list[float]) -> Frames:
    """Frames of MIDI pitches; 0 is unvoiced."""
    pitch = np.array(pitches) / 127
    return np.stack([pitch, pitch > 0, pitch > 0], axis=1).astype(np.float32)


def store(path: Path, clips: dict[str, Frames]) -> RaggedStore:
    items = [
        (name, "00", Item({"frames": frames[:, None], "level": np.zeros(3, np.float32)}, {}, "00"))
        for name, frames in clips.items()
    ]
    write_store(path, items, attrs={}, quarantined={})
    return RaggedStore(path)


def test_by_hand() -> None:
    known = contour([60, 60, 60, 60, 0, 0, 0, 62])
    found = contour([60.1, 60.7, 72.2, 0, 0, 61, 62, 61.8])
    measures = clip_measures(known, found)
    assert measures == pytest.approx({
        "raw_pitch_accuracy": 2 / 5,  # 60.1 and 61.8; 0 is not right
        "raw_chroma_accuracy": 3 / 5,  # and the octave above
        "overall_accuracy": 3 / 8,  # and one silence
        "voicing_recall": 4 / 5,
        "voicing_false_alarm": 2 / 3,
        "pitch_accuracy_where_voiced": 2 / 4,
        "deviation_cents": 15.0,  # of 10 and 20
    }, abs=1e-3)  # fmt: skip


def test_as_mir_eval_reads_files_of_hertz() -> None:
    """The whole of mir_eval, from frequencies, is the oracle for how frames are handed over."""
    rng = np.random.default_rng(0)
    pitch = np.repeat(rng.integers(45, 80, 40), 10) * (rng.random(400) > 0.2)
    found = np.where(rng.random(400) > 0.15, pitch + rng.normal(0, 0.4, 400), 0.0)
    found = np.where(pitch > 0, found, np.where(rng.random(400) > 0.7, 66.0, 0.0))
    time_s = np.arange(400) / 172.0

    def hertz(midi: np.ndarray) -> np.ndarray:
        return np.where(midi > 0, 440 * 2 ** ((midi - 69) / 12), 0.0)

    expected = mir_eval.melody.evaluate(time_s, hertz(pitch), time_s, hertz(found))
    measures = clip_measures(contour(list(pitch)), contour(list(found)))
    for ours, theirs in {
        "raw_pitch_accuracy": "Raw Pitch Accuracy", "raw_chroma_accuracy": "Raw Chroma Accuracy",
        "overall_accuracy": "Overall Accuracy", "voicing_recall": "Voicing Recall",
        "voicing_false_alarm": "Voicing False Alarm",
    }.items():  # fmt: skip
        assert measures[ours] == pytest.approx(expected[theirs], abs=1e-9), ours
        assert 0 < measures[ours] < 1


def test_a_perfect_contour() -> None:
    line = contour([60, 0, 61.3, 61.4])
    measures = clip_measures(line, line)
    assert measures.pop("voicing_false_alarm") == 0
    assert measures.pop("deviation_cents") == 0
    assert set(measures.values()) == {1.0}


def test_what_has_no_frame_has_no_value() -> None:
    silent = clip_measures(contour([0, 0]), contour([0, 60]))
    assert silent["overall_accuracy"] == silent["voicing_false_alarm"] == 0.5
    assert np.isnan([silent[n] for n in ("raw_pitch_accuracy", "voicing_recall")]).all()
    full = clip_measures(contour([60, 60]), contour([0, 0]))
    assert full["raw_pitch_accuracy"] == full["voicing_recall"] == full["overall_accuracy"] == 0
    nothing = ("voicing_false_alarm", "pitch_accuracy_where_voiced", "deviation_cents")
    assert np.isnan([full[n] for n in nothing]).all()


def test_a_table_by_instrument(tmp_path: Path) -> None:
    half, whole = contour([60, 60, 0, 0]), contour([60, 60, 60, 60])
    found = store(tmp_path / "a", {"x": half, "y": half, "z": whole, "recorded": whole})
    known = store(tmp_path / "b", {"x": half, "y": whole, "z": whole})
    names = {"x": "flute", "y": "flute", "z": "clarinet", "recorded": "clarinet"}
    table = audit_contours(names, found, known)
    assert list(table.columns) == list(COLUMNS)
    rows = table[table["measure"] == "voicing_recall"].set_index("instrument")
    assert list(rows.index) == ["clarinet", "flute", "all"]
    assert list(rows["value"]) == pytest.approx([1.0, 0.75, 2.5 / 3])
    assert list(rows["n_clips"]) == [1, 2, 3]
    assert list(rows["n_unknown"]) == [1, 0, 1]
    assert np.isnan(rows.loc["clarinet", "ci_low"])
    assert (rows.loc["flute", "ci_low"], rows.loc["flute", "ci_high"]) == (0.5, 1.0)
    alarm = table[table["measure"] == "voicing_false_alarm"].set_index("instrument")
    assert alarm.loc["flute", "n_clips"] == 1  # a clip without silence has no such share
    assert table.equals(audit_contours(names, found, known))


def test_recordings_alone_have_rows_without_values(tmp_path: Path) -> None:
    found = store(tmp_path / "a", {"x": contour([60, 60])})
    table = audit_contours({"x": "grand"}, found, None)
    assert list(table["measure"]) == list(MEASURES)
    assert table["value"].isna().all()
    assert set(table["n_unknown"]) == {1}
    assert set(table["n_clips"]) == {0}
