"""What the tests let workers do, and what they write down of it; imported by the workers too."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pianoeval.builder import ItemJob
from pianoeval.cache import Array, Item, item_key
from pianoeval.errors import BadInputError, MissingAssetError
from pianoeval.progress import part_done
from pianoeval.store import RaggedStore, write_store

STEP = "test"
RATE_HZ = 44_100
HOP = 1024


@dataclass(frozen=True)
class Deed:
    """One clip: what its worker is to do."""

    number: int
    deed: str
    folder: Path


def perform(deed: Deed) -> tuple[Mapping[str, Array], Mapping[str, Any]]:
    """Compute an item, or fail in the way that is asked for."""
    wait_while_frozen(deed.folder, str(deed.number))
    if deed.deed == "bad":
        raise BadInputError("unusable", where=f"clip{deed.number}")
    if deed.deed == "lost":
        raise MissingAssetError("no weights", next_step="pianoeval fetch x")
    if deed.deed == "foreign":
        raise RuntimeError("of another library")
    if deed.deed == "die":
        os._exit(3)
    if deed.deed == "fault":
        ctypes.string_at(0)  # a real segmentation fault, in this thread
    if deed.deed == "long":
        part_done(40.0)
        wait_until(lambda: not (deed.folder / "hold").exists())
    if deed.deed == "hang":
        time.sleep(300.0)
    frames = np.full((deed.number % 7 + 1, 1, 2), deed.number, np.float16)
    write_down(deed.folder, f"encoded {deed.number}")
    return {"frames": frames, "level": np.zeros(3, np.float32)}, {}


@dataclass(frozen=True)
class StoredClip:
    """A clip for an encoder without weights or libraries, so that workers start quickly."""

    audio: Path
    clip: str
    folder: Path


def encode(payload: StoredClip) -> tuple[Mapping[str, Array], Mapping[str, Any]]:
    """Mean, spread and peak of every 1024 samples, and a line for every clip encoded."""
    wait_while_frozen(payload.folder, payload.clip)
    store = RaggedStore(payload.audio)
    samples = store.frames(payload.clip)[:, 0, 0] / 32768.0
    steps = samples[: len(samples) // HOP * HOP].reshape(-1, 1, HOP)
    frames = np.stack([steps.mean(-1), steps.std(-1), np.abs(steps).max(-1)], axis=-1)
    write_down(payload.folder, f"encoded {payload.clip}")
    level = store.level[store.row(payload.clip)]
    return {"frames": frames.astype(np.float16), "level": level}, {}


def stored_jobs(audio: Path, folder: Path) -> list[ItemJob]:
    """The clips of a store, each keyed by its samples."""
    store = RaggedStore(audio)
    return [
        ItemJob(
            clip, item_key(STEP, 1, {"audio": store.digest(clip)}, {}),
            StoredClip(audio, clip, folder), store.length(clip) / RATE_HZ,
        )
        for clip in store.clips
    ]  # fmt: skip


def wait_while_frozen(folder: Path, name: str) -> None:
    """Stand before the clip while the file ``freeze`` is there."""
    write_down(folder, f"begun {name}")
    if (folder / "freeze").exists():
        write_down(folder, f"frozen {name}")
    while (folder / "freeze").exists():
        time.sleep(0.02)


def write_down(folder: Path, line: str) -> None:
    with (folder / "ledger").open("a", encoding="utf-8") as stream:
        stream.write(f"{line} {os.getpid()}\n")


def ledger(folder: Path, word: str) -> list[tuple[str, int]]:
    """(clip, process) of every line that begins with ``word``."""
    path = folder / "ledger"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    parts = [line.split() for line in lines]
    return [(part[1], int(part[2])) for part in parts if part[0] == word]


def make_jobs(folder: Path, deeds: Sequence[str], audio_s: float = 1.0) -> list[ItemJob]:
    return [
        ItemJob(f"clip{n}", f"{n:064x}", Deed(n, deed, folder), audio_s)
        for n, deed in enumerate(deeds)
    ]


def write_audio(path: Path, n_clips: int, shortest_s: float = 0.3) -> Path:
    """Noise, 0.3 s more at most; the first clips are the same whatever their number."""
    items = []
    for n in range(n_clips):
        generator = np.random.default_rng(n)
        length = int(RATE_HZ * generator.uniform(shortest_s, shortest_s + 0.3))
        samples = generator.integers(-8000, 8000, (length, 1, 1)).astype(np.int16)
        level = np.array([-20.0, -20.0, -12.0], np.float32)
        items.append((f"clip{n}", f"{n:064x}", Item({"frames": samples, "level": level}, {}, "")))
    attrs = {"sample_rate_hz": RATE_HZ, "instrument_name": "noise"}
    write_store(path, items, attrs=attrs, quarantined={})
    return path


def wait_until(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Poll; an AssertionError if it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def frozen(folder: Path) -> dict[int, str]:
    """By process: the clip before which it stands."""
    return {process: clip for clip, process in ledger(folder, "frozen")}


def is_alive(process: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"
