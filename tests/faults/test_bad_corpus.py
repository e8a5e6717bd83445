# ruff: noqa: E501 - payloads read best on a line of their own
"""Fifty hostile recordings among ten good ones change nothing about the ten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import hostile_audio
import hostile_midi
import numpy as np
import pandas as pd
import pytest
from levels import record
from workspaces import small_params

from pianoeval.audio.render import render_item, render_jobs
from pianoeval.cache import item_digest
from pianoeval.corpora.manifest import read_manifest
from pianoeval.corpora.registry import ingest_corpus
from pianoeval.features.symbolic import symbolic_table
from pianoeval.midi.io import Performance, write_midi
from pianoeval.params import Params
from pianoeval.params_file import parse_params

N_GOOD, N_BAD = 10, 50
NAMES = (
    "<script>",
    "=1+1",
    "[red]x",
    "|",
    "\N{GRINNING FACE}",
    "$(x)",
    "'; drop",
    "%s",
    "a  b",
    "CON",
)


def params() -> Params:
    data = small_params()
    data["corpora"]["mine"] = {"loader": "folder"}
    data["run"]["max_failed_fraction"] = 0.9
    return parse_params(data)


def good_ones(raw: Path) -> None:
    for i in range(N_GOOD):
        keys = np.random.default_rng(i).integers(40, 80, 12)
        notes = [(0.2 * j, 0.2 * j + 0.15, int(key), 50 + i) for j, key in enumerate(keys)]
        if i % 2:
            (raw / f"good{i}.wav").write_bytes(
                hostile_audio.wav(data=(100 * np.sin(np.arange(8000) / (5 + i))).astype("<i2").tobytes())
            )  # fmt: skip
        else:
            write_midi(Performance.from_notes(notes), raw / f"good{i}.mid")


def bad_ones(raw: Path) -> None:
    """Such that none can be read: what is only strange would join the good ones."""
    files = [
        (f"{label[:12]}.mid", data) for label, data in hostile_midi.tricks() if len(data) < 9000
    ]
    keep = (
        "header",
        "track says",
        "empty file",
        "format 2",
        "RIFF",
        "no note",
        "division 0",
        "no tracks",
    )
    files = [
        (n, d)
        for n, d in files
        if n.startswith(keep) and not n.startswith(("no note off", "header of", "header twic"))
    ]
    files += [
        (n, d) for n, d in hostile_audio.tricks() if "rate 0" in n or "65535 ch" in n or "text" in n
    ]
    for i in range(N_BAD):
        label, data = files[i % len(files)]
        suffix = Path(label).suffix
        (raw / f"bad {i} {NAMES[i % len(NAMES)]}{suffix}").write_bytes(data)


def run(
    home: Path, hostile: bool
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str], dict[str, Any]]:
    raw, out = home / "raw", home / "source"
    raw.mkdir(parents=True)
    good_ones(raw)
    if hostile:
        bad_ones(raw)
    chosen = params()
    ingest_corpus("mine", chosen, raw, out)
    manifest = read_manifest(out / "manifest.parquet")
    quarantined = json.loads((out / "quarantine.json").read_text(encoding="utf-8"))
    symbolic = symbolic_table(manifest, home, chosen.midi, chosen.run)
    jobs = render_jobs(manifest, home, "grand", chosen)
    # In this process: the pool's workers do nothing else.
    sounds = {job.clip: (job.key, digest_of(render_item(job.payload)[0])) for job in jobs}
    return manifest, symbolic, quarantined, sounds


def digest_of(arrays: dict[str, Any]) -> str:
    return item_digest(arrays, {})


def test_the_good_ones_do_not_notice(tmp_path: Path, instrument_assets: None) -> None:
    alone, symbolic, none, sound = run(tmp_path / "alone", hostile=False)
    among, symbolic_among, quarantined, sound_among = run(tmp_path / "among", hostile=True)
    assert len(alone) == N_GOOD
    bad = quarantined.get("clips", quarantined)
    reasons = {clip: reason for clip, reason in bad.items() if str(clip).startswith("bad")}
    assert len(reasons) == N_BAD
    assert all(len(str(reason)) > 20 for reason in reasons.values())
    assert not [clip for clip in none if str(clip).startswith("good")]
    pd.testing.assert_frame_equal(alone, among)
    pd.testing.assert_frame_equal(symbolic, symbolic_among)
    assert sound == sound_among
    for path in sorted((tmp_path / "alone" / "source").rglob("*.mid")):
        other = tmp_path / "among" / path.relative_to(tmp_path / "alone")
        assert path.read_bytes() == other.read_bytes()
    record("bad input", "hostile files among good ones", hostile=N_BAD, good=N_GOOD,
           quarantined=len(reasons), good_changed=0)  # fmt: skip


@pytest.mark.parametrize("target", ["../outside.mid", "/etc/hostname"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, target: str) -> None:
    raw = tmp_path / "mine" / "raw"
    raw.mkdir(parents=True)
    good_ones(raw)
    shutil.copyfile(raw / "good0.mid", tmp_path / "mine" / "outside.mid")
    (raw / "link.mid").symlink_to(target)
    ingest_corpus("mine", params(), raw, tmp_path / "source")
    found = json.loads((tmp_path / "source" / "quarantine.json").read_text(encoding="utf-8"))
    assert "leads out" in str(found.get("link", found))
    assert "link" not in set(read_manifest(tmp_path / "source" / "manifest.parquet")["clip"])
