"""Extraction against the loop a peer would write, and against what the device can do.

    python benchmarks/extraction.py peer  [--encoder transkun] [--device cpu] [--seconds 240]
    python benchmarks/extraction.py limit [--encoder muq] [--device cpu] [--layers all]

``peer``: the same audio files, the same weights, the same machine. The peer's loop takes one file
at a time (``peer.py``): ``librosa.load`` at the rate wanted, pieces of 10 s, one call a piece with
PyTorch's default threads, all layers to the CPU and to one ``.pt`` a file, float32; over the
network as published where that can run here (MERT; MuQ with PIANOEVAL_REFERENCE_PYTHON), and over
ours, which tells apart what the runner and what the network gain. Ours
starts from the same files too: into an audio store, then ``embed_corpus`` with everything that
belongs to it (resampling, float16, hashes, item cache, store), two processes on two cores. On a
busy machine a peer of several threads spends its time waiting for them, and only processor times
with ``--threads 1`` mean something. Each row is a process of its own; the first pair of ratios
holds its start and the loading of weights. The last row runs again: all cached. The second pair
("more x") is of what a second of audio costs beyond that: each row runs on short files too, one of
10 s a core, so that as many processes start; from the times of both, and the difference in audio.

``limit``: FLOP/s of the forward pass, and of the whole extraction of clips in memory, over a large
matrix product of the same precision on the same device (no TF32); and the share of its time in
which the device had no batch to work on.

Prints ratios of one run. Weights are random but for transkun's where they are fetched.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pianoeval.builder import n_cores

RATE_HZ = 44_100
SHORT_S = 10.0  # a piece of the peer's, so that whatever is compiled is compiled
PEER = Path(__file__).with_name("peer.py")
PAPER_LAYERS = {"transkun": "4", "muq": "9..12", "mert": "7..12"}
PRECISIONS = ("float32", "bfloat16")


def make_params(encoder: str, layers: str, precision: str, device: str) -> Any:
    """Parameters of an encoder; random weights where the real ones are not at hand."""
    from pianoeval.assets import asset_path
    from pianoeval.errors import MissingAssetError
    from pianoeval.params import CheckpointParams, TranskunParams

    common = {"layers": layers, "precision": precision, "device": device}
    common["compile"] = device == "cuda"
    if encoder != "transkun":
        # The peer takes short last pieces, too.
        return CheckpointParams(kind=encoder, weights="random", last_chunk="short", **common)
    try:
        asset_path("transkun-2.0")
        weights = "pretrained"
    except MissingAssetError:
        weights = "random"
    return TranskunParams(weights=weights, **common)


def lengths_s(seconds: float) -> Iterator[float]:
    """8 to 24 s each, until there are enough."""
    draw, left = np.random.default_rng(1), seconds
    while left > 0:
        yield (length := draw.uniform(8, 24))
        left -= length


def write_files(folder: Path, lengths: Iterable[float]) -> float:
    """Decaying tones, 16 bit: audio of any content takes the same time. Their sum (s)."""
    import soundfile

    folder.mkdir(parents=True)
    draw, total = np.random.default_rng(0), 0
    for number, length in enumerate(lengths):
        t = np.arange(round(length * RATE_HZ)) / RATE_HZ
        tones = sum(
            np.sin(2 * np.pi * hz * t) * np.exp(-1.5 * ((t - start) % 4))
            for hz, start in zip(draw.uniform(100, 2000, 6), draw.uniform(0, 4, 6), strict=True)
        )
        path = folder / f"{number:04d}.wav"
        soundfile.write(path, 0.05 * tones, RATE_HZ, subtype="PCM_16")
        total += len(t)
    return total / RATE_HZ


def ours(files: Sequence[Path], out: Path, encoder: str, options: dict[str, str]) -> None:
    """From the files to an embedding store."""
    import soundfile

    from pianoeval.cache import Item, ItemCache
    from pianoeval.encoders.extract import embed_corpus
    from pianoeval.params import Params, RunParams
    from pianoeval.store import write_store

    level = np.zeros(3, np.float32)
    items = (
        (path.stem, path.stem, Item({"frames": samples[:, None, None], "level": level}, {}, ""))
        for path in files
        for samples in [soundfile.read(path, dtype="int16")[0]]
    )
    audio = out / "audio.zarr"
    write_store(audio, items, attrs={"sample_rate_hz": RATE_HZ}, quarantined={})
    params = Params.model_construct(
        encoders={"it": make_params(encoder, **options)}, run=RunParams()
    )
    embed_corpus(audio, "it", params, ItemCache(out / "items"), out / "embedding.zarr")


def timed(command: Sequence[str]) -> dict[str, float]:
    """Wall and processor time (s) of a process, with its children."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {name: v for name, v in os.environ.items() if not name.endswith("_NUM_THREADS")}
    subprocess.run(command, check=True, env=environment)
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu}


def peers(encoder: str) -> list[tuple[str, str, str]]:
    """(name, interpreter, network) of the loops of ``peer.py`` that can run here."""
    found = [("peer's loop over our network", sys.executable, f"ours-{encoder}")]
    if encoder == "mert":
        found.insert(0, ("peer: transformers' network", sys.executable, encoder))
    if encoder == "muq" and (reference := os.environ.get("PIANOEVAL_REFERENCE_PYTHON")):
        found.insert(0, ("peer: the authors' package", reference, encoder))
    return found


def compare(encoder: str, device: str, seconds: float, threads: int, folder: Path) -> None:
    """Print the table of ``peer``; ratios are to its first row."""
    short_s = write_files(folder / "short", [SHORT_S] * n_cores())
    whole_s = write_files(folder / "whole", lengths_s(max(seconds, 1.5 * short_s)))
    print(f"{encoder} on {device}: {whole_s:.0f} s of audio; short: {short_s:.0f} s")
    heads = ("wall s", "cpu s", "wall x", "cpu x", "more wall x", "more cpu x")
    print(f"{'':38}" + "".join(f"{head:>{len(head) + 2}}" for head in heads))
    base: dict[str, float] = {}

    def row(name: str, command: Sequence[str], *options: str, anew: bool = True) -> None:
        if anew:
            shutil.rmtree(folder / "out", ignore_errors=True)
        took: dict[str, float] = {}
        for what in ("short", "whole"):
            places = [str(folder / what), str(folder / "out" / what)]
            for clock, spent in timed([*command, *places, *options]).items():
                took[f"more {clock}"] = (spent - took.get(clock, 0.0)) / (whole_s - short_s)
                took[clock] = spent
        base.update(base or took)
        line = f"{name:38}{took['wall']:8.1f}{took['cpu']:7.1f}"
        for clock, width in (("wall", 8), ("cpu", 7), ("more wall", 13), ("more cpu", 12)):
            # Nothing is left of a row that costs no more for more audio: it has no ratio.
            ratio = f"{base[clock] / took[clock]:.2f}" if took[clock] > 0 else "-"
            line += f"{ratio:>{width}}"
        print(line, flush=True)

    for name, interpreter, network in peers(encoder):
        loop = [interpreter, str(PEER), network]
        row(name, loop, "--device", device, "--threads", str(threads))
    own = [sys.executable, __file__, "run-ours"]
    for precision in PRECISIONS:
        for name, layers in (("all layers", "all"), ("papers' layers", PAPER_LAYERS[encoder])):
            chosen = {"layers": layers, "precision": precision, "device": device}
            options = ["--encoder", encoder, "--options", json.dumps(chosen)]
            row(f"ours: {precision}, {name}", own, *options)
    row("ours: again, all cached", own, *options, anew=False)


def limit(encoder: str, device: str, layers: str, repeats: int, seconds: float) -> None:
    """Print the table of ``limit``."""
    import torch
    from flop import count_flop, least_s, matrix_rate, noise

    from pianoeval.encoders.batched.fixed import FixedForward, fitting_rows
    from pianoeval.encoders.exact import exact_float32
    from pianoeval.encoders.registry import create_encoder

    torch.set_num_threads(1)
    where = torch.device(device)
    print(f"{'':30}{'x RT':>9}{'TFLOP/s':>9}{'of product':>11}{'waits':>7}")
    for precision in PRECISIONS:
        params = make_params(encoder, layers, precision, device)
        model = create_encoder(params.model_copy(update={"compile": False}))
        spec = model.spec
        with exact_float32(), torch.inference_mode():
            flop = count_flop(model)
            product = matrix_rate(getattr(torch, precision), where, repeats)
            rows = fitting_rows(model)
            forward = FixedForward(model, rows) if params.compile else model.forward
            audio = noise(model, rows)
            lengths = [audio.shape[1]] * rows
            took = least_s(lambda f=forward, a=audio, n=lengths: f(a, n), where, repeats) / rows
        took_all, waits = extraction(params, rows, seconds)
        print(f"{f'matrix product, {precision}':30}{'':9}{product / 1e12:9.3f}{1:11.0%}")
        for name, chunk_s, share in (
            (f"{encoder}, forward, batch {rows}", took, None),
            (f"{encoder}, whole extraction", took_all, waits),
        ):
            rate = flop / chunk_s
            tail = "" if share is None else f"{share:7.1%}"
            print(
                f"{name:30}{spec.chunk_s / chunk_s:9.1f}{rate / 1e12:9.3f}{rate / product:11.0%}"
                f"{tail}", flush=True,
            )  # fmt: skip


def extraction(params: Any, rows: int, seconds: float) -> tuple[float, float]:
    """Seconds of the device a chunk, and share in which it waited, through the runner.

    Clips are int16 at 44.1 kHz in memory; a first run, which loads and compiles, does not count.
    """
    from functools import partial

    from pianoeval.builder import BuildReport, ItemJob
    from pianoeval.cache import ItemCache
    from pianoeval.encoders.base import EncoderSpec
    from pianoeval.encoders.batched.fill import BatchedFill
    from pianoeval.encoders.batched.sinks import Clip
    from pianoeval.encoders.chunking import array_stream, plan_chunks
    from pianoeval.encoders.registry import create_encoder
    from pianoeval.encoders.stream import resampled
    from pianoeval.params import RunParams

    def open_clip(samples: Any, spec: EncoderSpec) -> Clip:
        stream = resampled(array_stream(samples), RATE_HZ, spec.sample_rate_hz)
        plan = plan_chunks(stream.n_samples, spec)
        return Clip(stream.n_samples, plan, stream.chunks(plan), {}, {})

    draw, each = np.random.default_rng(0), 40.125  # s: whole chunks but for an overlap
    samples = (3000 * draw.standard_normal(int(each * RATE_HZ))).astype(np.int16)
    n_clips = max(int(seconds / each), 1)
    jobs = [ItemJob(f"{n}", f"{n:064x}", samples, each) for n in range(n_clips)]
    fill = BatchedFill(partial(create_encoder, params), open_clip)
    run = RunParams(batch_size=rows)
    with tempfile.TemporaryDirectory() as folder:
        fill("warm", jobs[: max(1, rows // 4)], ItemCache(Path(folder)), run, BuildReport())
        report = BuildReport()
        begin = time.process_time() if params.device == "cpu" else time.perf_counter()
        fill("it", jobs, ItemCache(Path(folder)), run, report)
        end = time.process_time() if params.device == "cpu" else time.perf_counter()
    spec = create_encoder(params).spec
    resampled_n = round(len(samples) * spec.sample_rate_hz / RATE_HZ)
    # A short last chunk is a part of one.
    encoded = sum(chunk.stop - chunk.start for chunk in plan_chunks(resampled_n, spec))
    chunks = n_clips * encoded / spec.chunk_samples
    return (end - begin) / chunks, report.waited_s / report.device_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["peer", "limit", "run-ours"])
    parser.add_argument("folders", nargs="*", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--encoder", default="transkun", choices=list(PAPER_LAYERS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--layers", default="all")
    parser.add_argument("--seconds", type=float, default=240.0, help="of audio")
    parser.add_argument("--threads", type=int, default=0, help="of the peer; 0 = PyTorch's choice")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--options", type=json.loads, default={})
    given = parser.parse_args()
    if given.what == "limit":
        limit(given.encoder, given.device, given.layers, given.repeats, given.seconds)
    elif given.what == "peer":
        with tempfile.TemporaryDirectory() as folder:
            compare(given.encoder, given.device, given.seconds, given.threads, Path(folder))
    else:
        files, out = given.folders
        ours(sorted(files.glob("*.wav")), out, given.encoder, given.options)


if __name__ == "__main__":
    main()
