"""The stages `folds` and `audit` in a workspace: what they write, and when they stop."""

from __future__ import annotations

import shutil
from pathlib import Path

import corpora_cases
import evaluation_cases as cases
import pandas as pd
import pytest
from workspaces import make_workspace, small_params

from pianoeval.corpora.manifest import write_labels, write_manifest
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.evaluate.protocol.leaks import LeakError
from pianoeval.evaluate.protocol.receipt import read_audit
from pianoeval.midi.io import read_midi, write_midi
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_file
from pianoeval.sealed import write_list, write_sealed
from pianoeval.tablefile import write_table
from stages import audit, folds

COLUMNS = ["scheme", "part", "column", "declared", "overlap", "worst_fold", "example", "kept"]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CorpusPaths:
    """Clips of three movements with their MIDI, as the stages before these leave them."""
    monkeypatch.chdir(make_workspace(tmp_path / "workspace", small_params()))
    found = CorpusPaths("studio", tmp_path / "workspace")
    manifest = cases.manifest(n_segments=2, n_players=3)
    manifest["midi_path"] = "source/midi/" + manifest["clip"] + ".mid"
    for clip, performance in corpora_cases.performances(manifest).items():
        write_midi(performance, found.source / "midi" / f"{clip}.mid")
    write_list(found.source)
    write_manifest(manifest, found.manifest)
    write_labels(cases.labels(manifest), found.labels)
    return found


def test_clean_folds_leave_a_table_and_a_receipt(paths: CorpusPaths) -> None:
    folds.main("studio")
    audit.main("studio")
    wide = pd.read_csv(paths.results / "folds.csv")
    assert list(wide.columns) == [
        "clip", "segment", "content", "player", "movement", "movement_player",
    ]  # fmt: skip
    long = pd.read_parquet(paths.folds)
    one = long[(long["scheme"] == "player")].set_index("clip")["fold"]
    assert wide.set_index("clip")["player"].to_dict() == one.to_dict()
    table = pd.read_csv(paths.results / "leaks.csv")
    assert list(table.columns) == COLUMNS
    assert set(table["part"]) == {"train-test", "train-validation", "validation-test"}
    assert {"take", "performance", "music"} <= set(table["column"])
    assert not len(table[(table["overlap"] > 0) & ~table["declared"]])
    receipt = read_audit(paths)
    assert receipt["folds"] == sha256_file(paths.folds)
    assert receipt["clips"] == 18
    assert receipt["schemes"] == list(wide.columns)[1:]
    assert receipt["one_performance"] == []
    assert receipt["content_groups"] == {
        "content_groups": 3, "in_the_notes": 3, "merged": 0, "split": 0,
    }  # fmt: skip
    assert receipt["overlap"]["train-test"]["player"]["music"] == 1
    # The same tables give the same bytes: both are committed as data.
    before = {name: (paths.results / name).read_bytes() for name in ("folds.csv", "leaks.csv")}
    folds.main("studio")
    audit.main("studio")
    assert before == {name: (paths.results / name).read_bytes() for name in before}
    assert read_audit(paths) == receipt


def test_a_leak_leaves_nothing_to_train_on(paths: CorpusPaths) -> None:
    """A performance saved again under the name of another player."""
    midi = paths.source / "midi"
    copied = corpora_cases.saved_again(read_midi(midi / "m0_s0_p1_t0.mid"))
    write_midi(copied, midi / "m0_s0_p2_t0.mid")
    write_list(paths.source)
    folds.main("studio")
    with pytest.raises(LeakError, match="performance 'm0_s0_p1_t0' is in training and test") as e:
        audit.main("studio")
    assert "m0_s0_p2_t0" in str(e.value)
    assert "'player'" in str(e.value)
    assert not paths.audit.exists()
    assert not (paths.results / "leaks.csv").exists()
    with pytest.raises(MissingAssetError, match="not audited") as missing:
        read_audit(paths)
    assert "dvc repro audit@studio" in str(missing.value.next_step)


def test_pairs_of_one_performance_are_listed_where_they_are_no_leak(paths: CorpusPaths) -> None:
    """Two segments of one content group by one player: declared under `segment` only."""
    midi = paths.source / "midi"
    copied = corpora_cases.saved_again(read_midi(midi / "m0_s0_p1_t0.mid"), 2.0)
    write_midi(copied, midi / "m0_s1_p1_t0.mid")
    write_list(paths.source)
    folds.main("studio")
    audit.main("studio")
    [pair] = read_audit(paths)["one_performance"]
    assert (pair["one"], pair["other"]) == ("m0_s0_p1_t0", "m0_s1_p1_t0")
    assert pair["shift_s"] == pytest.approx(2.0, abs=0.004)


def test_a_receipt_of_other_folds_is_refused(paths: CorpusPaths) -> None:
    folds.main("studio")
    audit.main("studio")
    table = pd.read_parquet(paths.folds)
    write_table(table.iloc[::-1], paths.folds)
    with pytest.raises(CorruptDataError, match="made with another folds"):
        read_audit(paths)
    write_sealed(paths.audit, {"clips": 18})
    with pytest.raises(CorruptDataError, match="not a receipt of the audit"):
        read_audit(paths)


def test_a_receipt_of_other_labels_is_refused(paths: CorpusPaths) -> None:
    """A clip that lost its label is no longer learned from: sides are divided otherwise."""
    folds.main("studio")
    audit.main("studio")
    write_labels(cases.labels(cases.manifest()).iloc[:-1], paths.labels)
    with pytest.raises(CorruptDataError, match="made with another labels"):
        read_audit(paths)


def test_an_audit_that_stops_takes_the_former_receipt_with_it(paths: CorpusPaths) -> None:
    """Folds and manifest are the same, so the former receipt would still be accepted."""
    folds.main("studio")
    audit.main("studio")
    shutil.rmtree(paths.source)
    with pytest.raises(MissingAssetError):
        audit.main("studio")
    with pytest.raises(MissingAssetError, match="not audited"):
        read_audit(paths)
    assert not (paths.results / "leaks.csv").exists()


def test_a_receipt_without_its_folds_says_what_to_do(paths: CorpusPaths) -> None:
    folds.main("studio")
    audit.main("studio")
    paths.folds.unlink()
    with pytest.raises(MissingAssetError, match=r"folds\.parquet") as error:
        read_audit(paths)
    assert "dvc repro" in str(error.value.next_step)


def test_midi_that_was_not_pulled_is_no_recording(paths: CorpusPaths) -> None:
    folds.main("studio")
    shutil.rmtree(paths.source)
    with pytest.raises(MissingAssetError, match=r"files\.json"):
        audit.main("studio")


def test_midi_of_which_a_bit_has_flipped_is_not_audited(paths: CorpusPaths) -> None:
    folds.main("studio")
    path = paths.source / "midi" / "m0_s0_p1_t0.mid"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptDataError, match=r"clip 'm0_s0_p1_t0' is not the one"):
        audit.main("studio")
    assert not paths.audit.exists()


def test_a_corpus_without_labels_is_audited(paths: CorpusPaths) -> None:
    write_labels(cases.labels(cases.manifest()).iloc[:0], paths.labels)
    folds.main("studio")
    audit.main("studio")
    assert read_audit(paths)["clips"] == 18
