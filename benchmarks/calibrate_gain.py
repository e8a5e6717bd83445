"""Fixed gain of every instrument: mean RMS of the clips at -32 dBFS, worst peak at most -1.5 dBFS.

Run once when an instrument is added or changed, and copy the gains into params.yaml:

    python benchmarks/calibrate_gain.py percepiano            # a corpus of the workspace
    python benchmarks/calibrate_gain.py folder/with/midi -i grand -i upright
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from pianoeval.audio.level import level_features
from pianoeval.audio.render import Played, render_performance
from pianoeval.corpora.manifest import read_manifest
from pianoeval.errors import BadInputError
from pianoeval.midi.io import read_midi
from pianoeval.midi.winds import read_winds
from pianoeval.params import InstrumentParams, RenderParams
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths

TARGET_RMS_DBFS = -32.0
HIGHEST_PEAK_DBFS = -1.5
TRIAL_GAIN_DB = -30.0

log = logging.getLogger("calibrate_gain")


def midi_files(source: str) -> list[Path]:
    """MIDI files of a directory, or of the undegraded clips of a corpus of the workspace."""
    if Path(source).is_dir():
        return sorted(p for p in Path(source).rglob("*") if p.suffix.lower() in (".mid", ".midi"))
    paths = CorpusPaths(source)
    manifest = read_manifest(paths.manifest)
    chosen = manifest[(manifest["tier"] == 0) & manifest["midi_path"].notna()]
    return [paths.root / path for path in sorted(chosen["midi_path"])]


def readable(files: list[Path], engine: str) -> list[Played]:
    """All performances; unreadable files are logged and left out."""
    read = read_winds if engine == "winds" else read_midi
    performances: list[Played] = []
    for path in files:
        try:
            performances.append(read(path))
        except BadInputError as error:
            log.warning("left out: %s", error)
    return performances


def spread(performances: list[Played], n_clips: int) -> list[Played]:
    """``n_clips`` of them, evenly spaced, for the mean level."""
    last, count = len(performances) - 1, min(n_clips, len(performances))
    return [performances[i] for i in np.unique(np.linspace(0, last, count).round().astype(int))]


def loudest(performances: list[Played], n_clips: int) -> list[Played]:
    """Those in which most power is struck within 50 ms, for the worst peak."""

    def struck(performance: Played) -> float:
        power = np.concatenate([[0.0], np.cumsum((performance.velocity / 127.0) ** 4)])
        until = np.searchsorted(performance.onset_s, performance.onset_s + 0.05)
        return float((power[until] - power[:-1]).max())

    return sorted(performances, key=struck, reverse=True)[:n_clips]


def calibrate(
    performances: list[Played],
    instrument: InstrumentParams,
    render: RenderParams,
    n_clips: int,
) -> tuple[float, float, float]:
    """``(gain_db, mean RMS, worst peak)`` with that gain, rounded down to 0.1 dB."""
    trial = instrument.model_copy(update={"gain_db": TRIAL_GAIN_DB})

    def levels(chosen: list[Played]) -> NDArray[np.float32]:
        audio = [render_performance(performance, trial, render) for performance in chosen]
        return np.array([level_features(samples, render.sample_rate_hz) for samples in audio])

    rms_db = float(levels(spread(performances, n_clips))[:, 0].mean())
    peak_db = float(levels(loudest(performances, n_clips))[:, 2].max())
    step = min(TARGET_RMS_DBFS - rms_db, HIGHEST_PEAK_DBFS - peak_db)
    gain_db = float(np.floor(10 * (TRIAL_GAIN_DB + step)) / 10)
    return gain_db, rms_db + gain_db - TRIAL_GAIN_DB, peak_db + gain_db - TRIAL_GAIN_DB


def main(
    source: Annotated[str, typer.Argument(help="corpus of the workspace, or a directory of MIDI")],
    instrument: Annotated[list[str] | None, typer.Option("-i", "--instrument")] = None,
    clips: Annotated[
        int, typer.Option(help="how many to render for the mean, and for the peak")
    ] = 40,
    params: Annotated[Path | None, typer.Option(help="params.yaml to read")] = None,
) -> None:
    """Print one line an instrument: name, gain, and the level it gives."""
    settings = load_params(params)
    files = midi_files(source)
    for name in instrument or sorted(settings.instruments):
        performances = readable(files, settings.instruments[name].engine)
        if not performances:
            raise typer.BadParameter(f"no MIDI files in '{source}' that {name} can play")
        gain, rms, peak = calibrate(
            performances, settings.instruments[name], settings.render, clips
        )
        typer.echo(
            f"{name:>14}  gain_db: {gain:6.1f}   mean RMS {rms:6.1f}   peak {peak:6.1f} dBFS"
        )


if __name__ == "__main__":
    typer.run(main)
