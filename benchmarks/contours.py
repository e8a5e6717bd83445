"""How much faster our pYIN is than ``librosa.pyin``, which takes the same decisions.

    python benchmarks/contours.py [--seconds 30] [--hop 256] [--resolution 0.1] [--repeats 3]

A line with vibrato, breaths and noise. Prints processor seconds of one core, and in how many frames
the two differ.
"""

from __future__ import annotations

import argparse
import time

import librosa
import numpy as np

from pianoeval.audio.pyin import Grid, pyin

RATE_HZ, FMIN_HZ, FMAX_HZ, WINDOW = 44_100, 87.307, 2637.02, 1024
STEPS = np.array([60, 67, 64, 72, 71, 55, 69, 57, 76, 62])


def line(seconds: float) -> np.ndarray:
    """Half-second notes of six harmonics with vibrato, every ninth a silence; float32."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    note = (time_s * 2).astype(int)
    midi = STEPS[note % len(STEPS)] + 0.3 * np.sin(2 * np.pi * 5.5 * time_s)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((midi - 69) / 12)) / RATE_HZ
    tone = 0.3 * np.sum([np.sin(h * phase) / h for h in range(1, 7)], axis=0)
    noise = 0.003 * np.random.default_rng(0).standard_normal(len(time_s))
    return np.asarray(tone * (note % 9 < 8) + noise, np.float32)


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--hop", type=int, default=256)
    parser.add_argument("--resolution", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    audio = line(args.seconds)
    grid = Grid(RATE_HZ, FMIN_HZ, FMAX_HZ, WINDOW, args.hop, args.resolution)

    def ours() -> tuple[np.ndarray, ...]:
        return pyin(audio, grid)

    def theirs() -> tuple[np.ndarray, ...]:
        return librosa.pyin(
            audio, sr=RATE_HZ, fmin=FMIN_HZ, fmax=FMAX_HZ, frame_length=WINDOW,
            hop_length=args.hop, resolution=args.resolution, fill_na=None,
        )  # fmt: skip

    found, taken = [], []
    for work in (ours, theirs):
        work()  # compiled, and tables filled
        best = np.inf
        for _ in range(args.repeats):
            start = time.process_time()
            result = work()
            best = min(best, time.process_time() - start)
        found.append(result)
        taken.append(best)
    differ = [int((a != b).sum()) for a, b in zip(*found, strict=True)]
    print(f"{args.seconds:g} s of audio, {len(found[0][0])} frames, {grid.n_pitches} pitches")
    print(f"ours {taken[0]:.2f} s, librosa {taken[1]:.2f} s: {taken[1] / taken[0]:.0f} x")
    print(f"{args.seconds / taken[0]:.0f} seconds of audio a second")
    print(f"frames that differ: frequency {differ[0]}, voiced {differ[1]}, probability {differ[2]}")


if __name__ == "__main__":
    main()
