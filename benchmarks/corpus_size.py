"""Cost of embedding against the size of the corpus, of a run with nothing to do, and of +10 clips.

    python benchmarks/corpus_size.py [--clips 20] [--seconds 2] [--workers 2] [--sizes 1,10,100]

For corpora of ``clips`` synthetic clips times each size it embeds with the mel encoder into an
empty cache ("build"), again with everything cached ("again"), and with ten clips more ("+10"); then
it pools. Each run is a process of its own, so that its largest memory is its own. Processor time
(driver and workers) is what to trust on a busy machine. "per clip" over all sizes shows whether
cost is linear; "again" and "+10" less the start of a process, whether it depends on the corpus.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pianoeval.cache import Item, ItemCache
from pianoeval.encoders.extract import embed_corpus, embed_jobs
from pianoeval.encoders.registry import encoder_spec
from pianoeval.features.pooling import pool_store
from pianoeval.params import MelParams, Params, RunParams
from pianoeval.store import RaggedStore, write_store

RATE_HZ = 44_100


def clips(count: int, seconds: float) -> Iterator[tuple[str, str, Item]]:
    """Different tones, so that no two clips share an item."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    for i in range(count):
        tone = np.rint(8000 * np.sin(2 * np.pi * (100 + 0.5 * i) * t)).astype(np.int16)
        arrays = {"frames": tone[:, None, None], "level": np.zeros(3, np.float32)}
        yield f"clip{i:06d}", f"{i:064x}", Item(arrays, {}, "")


def run_one(folder: Path, deed: str, workers: int) -> dict[str, float]:
    """``embed``, ``pool`` or ``look`` (only what is asked before anything is computed)."""
    params = Params.model_construct(
        encoders={"mel": MelParams()}, run=RunParams(workers=workers, max_failed_fraction=0.0)
    )
    cache, audio = ItemCache(folder / "items"), folder / "audio.zarr"
    encoder_spec(params.encoders["mel"])  # its modules are loaded before the clock starts
    begin, busy = time.perf_counter(), time.process_time()
    found: dict[str, float] = {}
    if deed == "embed":
        report = embed_corpus(audio, "mel", params, cache, folder / "mel.zarr")
        found["computed"] = report.computed
    elif deed == "pool":
        pool_store(RaggedStore(folder / "mel.zarr"), ["mean", "std"], folder / "pooled.zarr")
    else:
        jobs = embed_jobs(audio, "mel", params)
        found["jobs_s"] = time.process_time() - busy
        busy = time.process_time()
        found["computed"] = sum(not cache.has("embedding-mel", job.key) for job in jobs)
        found["has_s"] = time.process_time() - busy
    own = resource.getrusage(resource.RUSAGE_SELF)
    of_workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = sum(r.ru_utime + r.ru_stime for r in (own, of_workers))
    return found | {
        "wall_s": time.perf_counter() - begin, "processor_s": processor,
        "driver_mb": own.ru_maxrss / 1024, "workers_mb": of_workers.ru_maxrss / 1024,
    }  # fmt: skip


def measure(folder: Path, deed: str, workers: int) -> dict[str, float]:
    """:func:`run_one` in a process of its own."""
    command = [sys.executable, __file__, "--run", str(folder), deed, "--workers", str(workers)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def audio_store(folder: Path, count: int, seconds: float) -> None:
    """The input; it stands for what ``render`` leaves."""
    attrs = {"sample_rate_hz": RATE_HZ, "instrument_name": "tone"}
    write_store(folder / "audio.zarr", clips(count, seconds), attrs=attrs, quarantined={})


def show(count: int, deed: str, row: dict[str, float]) -> None:
    """One line of the table."""
    print(
        f"{count:7} {deed:8}{row.get('computed', 0):9.0f}{row['wall_s']:9.2f}"
        f"{row['processor_s']:13.2f}{1000 * row['processor_s'] / count:13.2f}"
        f"{row['driver_mb']:11.0f}{row['workers_mb']:12.0f}",
        flush=True,
    )


def table(sizes: list[int], base: int, seconds: float, workers: int) -> None:
    """Measure and print."""
    heads = ("computed", "wall s", "processor s", "per clip ms", "driver MB", "workers MB")
    widths = (9, 9, 13, 13, 11, 12)
    columns = "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True))
    print(f"{'clips':>7} {'run':8}{columns}")
    for size in sizes:
        count = base * size
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            audio_store(folder, count, seconds)
            show(count, "build", measure(folder, "embed", workers))
            show(count, "again", measure(folder, "embed", workers))
            show(count, "look", look := measure(folder, "look", workers))
            show(count, "pool", measure(folder, "pool", workers))
            audio_store(folder, count + 10, seconds)
            show(count, "+10", measure(folder, "embed", workers))
        keys, asked = (1e6 * look[what] / count for what in ("jobs_s", "has_s"))
        print(f"        keys: {keys:.0f} us a clip; asking the cache: {asked:.0f} us", flush=True)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sizes", default="1,10,100")
    parser.add_argument("--run", nargs=2, metavar=("FOLDER", "DEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run_one(Path(options.run[0]), options.run[1], options.workers)))
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    table(sizes, options.clips, options.seconds, options.workers)


if __name__ == "__main__":
    main()
