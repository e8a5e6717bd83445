"""What the page plays and draws of single clips: notes, pedal, and sound as small MP3s.

A page is easily passed on. ``report.audio: redistributable`` leaves out the sound of clips whose
licence does not allow that; by default it is all there, and the page says what must stay here.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import soxr
from numpy.typing import NDArray

from pianoeval.audio.render import audio_start_s
from pianoeval.corpora.manifest import read_manifest
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.evaluate.protocol.splits import most_telling
from pianoeval.midi.io import Performance, read_midi
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.sealed import write_sealed
from pianoeval.store import RaggedStore

MAX_S = 30.0  # of a clip, drawn and played: a page of six clips stays below 2 MB
SAMPLE_RATE_HZ = 22_050
QUALITY = 0.5  # libsndfile's compression level, variable bit rate: about 32 kbit/s


def encode_mp3(samples: NDArray[np.int16], sample_rate_hz: int) -> str:
    """Base64 of mono samples as MP3 at 22.05 kHz, at most ``MAX_S`` long."""
    part = samples[: round(MAX_S * sample_rate_hz)].astype(np.float32) / 32768.0
    resampled = soxr.resample(part, sample_rate_hz, SAMPLE_RATE_HZ)
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.clip(resampled, -1.0, 1.0), SAMPLE_RATE_HZ, format="MP3",
        compression_level=QUALITY, bitrate_mode="VARIABLE",
    )  # fmt: skip
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def roll_data(performance: Performance, start_s: float = 0.0) -> dict[str, Any]:
    """Notes ``[onset_ms, offset_ms, pitch, velocity]`` and pedal ``[time_ms, value]``.

    ``start_s`` is the MIDI time at which the sound starts. What sounds after ``MAX_S`` is left
    out; a pedal pressed before the start is pressed at 0.
    """

    def milliseconds(times_s: NDArray[np.float64]) -> list[int]:
        clipped = np.clip(times_s - start_s, 0.0, MAX_S)
        return [round(float(time) * 1000) for time in clipped]

    kept = performance.onset_s - start_s < MAX_S
    notes = zip(
        milliseconds(performance.onset_s[kept]), milliseconds(performance.offset_s[kept]),
        performance.pitch_midi[kept].tolist(), performance.velocity[kept].tolist(), strict=True,
    )  # fmt: skip
    early = performance.pedal_time_s - start_s < MAX_S
    pedal = zip(
        milliseconds(performance.pedal_time_s[early]), performance.pedal_value[early].tolist(),
        strict=True,
    )  # fmt: skip
    return {"notes": [list(note) for note in notes], "pedal": [list(event) for event in pedal]}


def _sound(row: pd.Series, store: RaggedStore | None, params: Params) -> tuple[str | None, str]:
    """Base64 MP3, or None and the reason."""
    if params.report.audio == "never" or store is None:
        return None, "sound is switched off (report.audio)"
    if params.report.audio == "redistributable" and not bool(row["redistributable"]):
        return None, "no sound: the licence of this clip does not allow passing it on"
    clip = str(row["clip"])
    if clip not in store.clips:
        return None, f"no sound: {store.quarantined.get(clip, 'not rendered')}"
    samples = store.frames(clip).reshape(-1)
    return encode_mp3(samples, int(store.attrs["sample_rate_hz"])), ""


def _roll(
    row: pd.Series, paths: CorpusPaths, params: Params
) -> tuple[dict[str, Any] | None, float]:
    """Notes in the time of the sound (None without MIDI), and how long either lasts (s)."""
    recorded_s = float(row["end_s"]) - float(row["start_s"])
    if not isinstance(row["midi_path"], str):
        return None, recorded_s
    performance = read_midi(paths.root / row["midi_path"], params.midi)
    if isinstance(row["audio_path"], str):
        # Nothing says that the MIDI beside a recording ends with it.
        return roll_data(performance), max(performance.end_s, recorded_s)
    start_s = audio_start_s(performance, params.render)
    return roll_data(performance, start_s), performance.end_s - start_s


def gather_examples(paths: CorpusPaths, params: Params) -> dict[str, Any]:
    """The clips that ``diagnostics.json`` names for the headline scheme, ready for the page.

    Returns
    -------
    dict
        ``scheme``, ``instrument``, and ``clips``: the entries of the diagnostics, each with
        ``segment, player, duration_s, shown_s, redistributable``, ``midi`` (see ``roll_data``, or
        None), ``audio`` (base64 MP3 or None) and ``silence`` (why there is none).

    Raises
    ------
    MissingAssetError
        No diagnostics.
    CorruptDataError
        They cannot be read, or name a clip that the manifest lacks.
    PianoevalError
        No audio of ``report.instrument``.
    """
    found = _diagnosed(paths)
    scheme = most_telling(found)
    chosen = found[scheme] if scheme is not None else []
    manifest = read_manifest(paths.manifest).set_index("clip", drop=False)
    audio = paths.audio(params.report.instrument)
    store = None if params.report.audio == "never" else RaggedStore(audio)
    return {
        "scheme": scheme,
        "instrument": params.report.instrument,
        "clips": [_clip(dict(entry), manifest, store, paths, params) for entry in chosen],
    }


def _diagnosed(paths: CorpusPaths) -> Mapping[str, list[Mapping[str, Any]]]:
    """Examples of each scheme, as the stage ``evaluate`` wrote them."""
    path, again = paths.results / "diagnostics.json", f"dvc repro evaluate@{paths.corpus}"
    if not path.is_file():
        raise MissingAssetError("no such file", where=path, next_step=again)
    try:
        found: Mapping[str, list[Mapping[str, Any]]]
        found = json.loads(path.read_text(encoding="utf-8"))["examples"]
        if not all("clip" in entry for part in found.values() for entry in part):
            raise KeyError("clip")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise CorruptDataError(
            f"no examples to be read in it ({type(error).__name__})", where=path, next_step=again
        ) from error
    return found


def _clip(
    entry: dict[str, Any],
    manifest: pd.DataFrame,
    store: RaggedStore | None,
    paths: CorpusPaths,
    params: Params,
) -> dict[str, Any]:
    clip = entry["clip"]
    if clip not in manifest.index:
        raise CorruptDataError(
            "the diagnostics name a clip that the manifest lacks", where=clip,
            next_step=f"dvc repro evaluate@{paths.corpus}",
        )  # fmt: skip
    row = manifest.loc[clip]
    sound, reason = _sound(row, store, params)
    notes, duration_s = _roll(row, paths, params)
    return entry | {
        "segment": str(row["segment"]),
        "player": None if pd.isna(row["player"]) else str(row["player"]),
        "duration_s": round(duration_s, 3),
        "shown_s": round(min(duration_s, MAX_S), 3),
        "midi": notes,
        "audio": sound,
        "redistributable": bool(row["redistributable"]),
        "silence": reason,
    }


def write_examples(paths: CorpusPaths, params: Params) -> None:
    """Write :func:`gather_examples` as JSON to ``paths.examples``."""
    write_sealed(paths.examples, gather_examples(paths, params), indent=None)
