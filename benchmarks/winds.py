"""How fast and how truly the engine ``winds`` plays: pitch beside what was written, by YIN.

    python benchmarks/winds.py auditions_middle            # a corpus of the workspace
    python benchmarks/winds.py folder/with/midi --clips 27

One process, after the banks are built; then, for the first clips, the share of frames within 10 and
50 cents of the bent MIDI pitch (raw pitch accuracy is the latter). Frames near a change of note see
two notes: they are left out of ``inside``.
"""

from __future__ import annotations

import time
from typing import Annotated

import librosa
import numpy as np
import typer
from calibrate_gain import midi_files
from numpy.typing import NDArray

from pianoeval.audio.render import audio_start_s, render_performance
from pianoeval.midi.winds import WindPerformance, pitch_curve, read_winds
from pianoeval.params_file import load_params

WINDOW, HOP = 2048, 256


def errors_cents(
    performance: WindPerformance, audio: NDArray[np.float32], start_s: float, rate_hz: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of every frame with a note; and whether no other note is within its window."""
    hz = librosa.yin(audio, fmin=90, fmax=2400, sr=rate_hz, frame_length=WINDOW, hop_length=HOP)
    now_s = np.arange(len(hz)) * HOP / rate_hz + start_s
    true = pitch_curve(performance, now_s)
    sounding = np.isfinite(true)
    note = np.maximum(np.searchsorted(performance.onset_s, now_s, side="right") - 1, 0)
    inside = (now_s > performance.onset_s[note] + 0.05) & (
        now_s < performance.offset_s[note] - 0.03
    )
    return (100 * (librosa.hz_to_midi(hz) - true))[sounding], inside[sounding]


def main(
    source: Annotated[str, typer.Argument(help="corpus of the workspace, or a directory of MIDI")],
    instrument: Annotated[str, typer.Option("-i", "--instrument")] = "winds",
    clips: Annotated[int, typer.Option(help="how many, evenly spaced")] = 27,
) -> None:
    """Print seconds of music a second, and shares of frames."""
    params = load_params(None)
    files = midi_files(source)
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, clips).astype(int))]
    performances = [read_winds(path, params.midi) for path in chosen]
    block, rules = params.instruments[instrument], params.render
    for performance in performances:
        render_performance(performance, block, rules)  # banks
    begun = time.perf_counter()
    sounds = [render_performance(performance, block, rules) for performance in performances]
    wall_s = time.perf_counter() - begun
    music_s = sum(len(sound) for sound in sounds) / rules.sample_rate_hz
    typer.echo(f"{music_s:.0f} s of music at {music_s / wall_s:.0f} times real time")
    found = [
        errors_cents(p, x, audio_start_s(p, rules), rules.sample_rate_hz)
        for p, x in zip(performances, sounds, strict=True)
    ]
    cents = np.abs(np.concatenate([errors for errors, _ in found]))
    inside = np.concatenate([kept for _, kept in found])
    for name, kept in (("all frames", np.ones(len(cents), bool)), ("inside", inside)):
        shares = [float(np.mean(cents[kept] < limit)) for limit in (10, 50)]
        median = float(np.median(cents[kept]))
        typer.echo(f"{name:>10}  10 cents {shares[0]:.4f}  50 cents {shares[1]:.4f}  {median:.1f}")


if __name__ == "__main__":
    typer.run(main)
