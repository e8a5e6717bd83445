"""Degraded versions of a corpus: the thick part of the degrade stage."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from pianoeval.corpora.manifest import (
    LABEL_COLUMNS,
    read_labels,
    read_manifest,
    write_labels,
    write_manifest,
)
from pianoeval.errors import ConfigError
from pianoeval.midi.degrade import DIMENSIONS, Severities, degrade, draw_severities
from pianoeval.midi.io import read_midi, write_midi
from pianoeval.midi.perform import seeded
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.provenance import sha256_file

log = logging.getLogger(__name__)

POLES: dict[str, tuple[str, str]] = {
    "timing_jitter": ("steady", "jittery"),
    "wrong_notes": ("right notes", "wrong notes"),
    "missing_notes": ("complete", "gappy"),
    "dynamics_compression": ("shaped", "flat"),
    "pedal_smear": ("clean", "blurred"),
    "articulation_error": ("controlled", "erratic"),
    "overall": ("undegraded", "degraded"),
}


def severity_labels(clip: str, severities: Severities, tier: int) -> list[dict[str, Any]]:
    """Label rows of a clip: task rating = severities and their mean, task expertise = tier.

    They are known, not rated: ``n_raters`` and ``sd`` are missing. High is worse throughout.
    """
    values = severities.as_dict() | {"overall": severities.overall}
    rows = [("rating", name, value, *POLES[name]) for name, value in values.items()]
    rows.append(("expertise", "tier", float(tier), "undegraded", "most degraded"))
    return [
        {
            "clip": clip, "task": task, "dimension": dimension, "value": value,
            "n_raters": None, "sd": None, "low_pole": low, "high_pole": high,
            "higher_is_better": False,
        }
        for task, dimension, value, low, high in rows
    ]  # fmt: skip


def degrade_corpus(params: CorpusParams, root: Path, out: Path, limits: MidiLimits) -> None:
    """Write ``out``/manifest.parquet and labels.parquet: all source clips, and their tiers.

    Parameters
    ----------
    root : Path
        ``data/<corpus>``, with ``source/manifest.parquet`` and ``source/labels.parquet``.
    out : Path
        New folder that becomes ``data/<corpus>/clips``; performances go to ``out``/midi.

    With no tiers the tables are copied byte for byte. Otherwise each clip that is not a score
    rendering gets one version a tier, and severities for labels (0 for itself, unless it has
    them). The draws hang on seed, clip and tier only, not on the order of clips.

    Raises
    ------
    ConfigError
        Tiers for a corpus that has ratings of its own, for audio without MIDI, or unknown.
    """
    source = root / "source"
    manifest = read_manifest(source / "manifest.parquet")
    labels = read_labels(source / "labels.parquet")
    (out / "midi").mkdir(parents=True)
    if not params.tiers:
        for name in ("manifest.parquet", "labels.parquet"):
            shutil.copyfile(source / name, out / name)
        return
    _check_labels(labels, source / "labels.parquet")
    rows: list[dict[Hashable, Any]] = []
    added: list[dict[str, Any]] = []
    labelled = set(labels["clip"])
    for row in manifest.to_dict("records"):
        rows.append(row)
        if row["is_score_render"] or row["tier"] != 0:
            continue
        if row["clip"] not in labelled:
            added += severity_labels(row["clip"], Severities(), 0)
        for tier in params.tiers:
            version, severities = _degraded_row(row, tier, params.seed, root, out, limits)
            rows.append(version)
            added += severity_labels(version["clip"], severities, tier)
    write_manifest(pd.DataFrame(rows, columns=manifest.columns), out / "manifest.parquet")
    both = [*labels.to_dict("records"), *added]
    write_labels(pd.DataFrame(both, columns=list(LABEL_COLUMNS)), out / "labels.parquet")
    log.info("degrade: %d clips, %d of them degraded", len(rows), len(rows) - len(manifest))


def _check_labels(labels: pd.DataFrame, path: Path) -> None:
    """Ratings of undegraded clips say nothing about their degraded versions."""
    rated = set(labels.loc[labels["task"] == "rating", "dimension"])
    foreign = sorted(rated - {*DIMENSIONS, "overall"})
    if foreign:
        raise ConfigError(
            f"tiers for a corpus with ratings of its own ({', '.join(foreign[:3])} ...)",
            where=path, allowed="tiers: []",
            next_step="set tiers of this corpus to [] in params.yaml",
        )  # fmt: skip


def _degraded_row(
    row: dict[Hashable, Any], tier: int, seed: int, root: Path, out: Path, limits: MidiLimits
) -> tuple[dict[Hashable, Any], Severities]:
    """Write one degraded version; its manifest row and its severities."""
    parent = row["clip"]
    if not isinstance(row["midi_path"], str):
        raise ConfigError(
            "only MIDI can be degraded", where=parent, allowed="tiers: []",
            next_step="set tiers of this corpus to [] in params.yaml",
        )  # fmt: skip
    rng = seeded(seed, "degrade", parent, str(tier))
    severities = draw_severities(tier, rng)
    performance = degrade(read_midi(root / row["midi_path"], limits), severities, rng)
    clip = f"{parent}_t{tier}"
    path = out / "midi" / f"{clip}.mid"
    write_midi(performance, path)
    version = {
        **row,
        "clip": clip,
        "midi_path": f"{out.name}/midi/{path.name}",
        "audio_path": None,
        "start_s": 0.0,
        "end_s": read_midi(path, limits).end_s,
        "sha256": sha256_file(path),
        "source": "synthetic",
        "parent": parent,
        "tier": tier,
    }
    return version, severities
