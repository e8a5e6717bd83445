"""Embeddings of files: the items, by key and bytes, that the pipeline makes of the same bytes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pianoeval.audio.render import render_corpus
from pianoeval.builder import BuildReport, Fill, ItemJob, missing_jobs, pool_fill
from pianoeval.cache import Array, Item, ItemCache
from pianoeval.encoders.base import EncoderSpec
from pianoeval.encoders.batched.fill import device_fill
from pianoeval.encoders.extract import embed_item, embed_jobs, embedding_attrs, embedding_step
from pianoeval.encoders.inventory import check_ready
from pianoeval.encoders.layers import parse_layers
from pianoeval.encoders.registry import encoder_spec
from pianoeval.errors import BadInputError, CorruptDataError
from pianoeval.judging.files import Recording, manifest_of
from pianoeval.params import Layers, Params
from pianoeval.store import RaggedStore, write_store


@dataclass(frozen=True)
class Embedded:
    """Items of files, in the cache.

    Attributes
    ----------
    spec : EncoderSpec
    attrs : dict
        What a store of them says about itself.
    jobs : list of ItemJob
        One a file that was embedded; ``clip`` is its name.
    failed : dict
        Why other files were not.
    report : BuildReport
        What was computed now.
    """

    spec: EncoderSpec
    attrs: dict[str, Any]
    jobs: list[ItemJob]
    failed: dict[str, str]
    report: BuildReport
    _item: Callable[[ItemJob], Item]

    def items(self) -> Iterator[tuple[str, str, Item]]:
        """``(name, key, item)`` of one file after another."""
        for job in self.jobs:
            yield job.clip, job.key, self._item(job)


@contextmanager
def embedded(
    recordings: Sequence[Recording], encoder: str, instrument: str, params: Params, cache: ItemCache
) -> Iterator[Embedded]:
    """Render or decode files and embed them; what is in the cache is not computed again.

    Audio of the files lies in a temporary folder meanwhile; long ones stream.

    Raises
    ------
    BadInputError
        No file can be embedded.
    ConfigError, MissingAssetError
        As :func:`~pianoeval.encoders.extract.embed_corpus`.
    """
    spec = encoder_spec(params.encoders[encoder], encoder)
    # A bad file costs itself alone, however many there are.
    run = params.run.model_copy(update={"max_failed_fraction": 1.0})
    params = params.model_copy(update={"run": run})
    check_ready(encoder, params.encoders[encoder])
    step = embedding_step(spec)
    with tempfile.TemporaryDirectory(prefix="pianoeval-") as scratch:
        audio = Path(scratch) / "audio.zarr"
        failed = _audio(recordings, instrument, params, cache, audio)
        store = RaggedStore(audio)
        jobs = embed_jobs(audio, encoder, params)
        fill = _fill(encoder, params)
        todo = missing_jobs(step, jobs, cache)
        report = BuildReport(reused=len({job.key for job in jobs}) - len(todo))
        started = time.monotonic()
        bad = fill(step, todo, cache, run, report) if todo else {}
        report.seconds = time.monotonic() - started
        failed |= {job.clip: bad[job.key] for job in jobs if job.key in bad}
        jobs = [job for job in jobs if job.key not in bad]
        if not jobs:
            raise _none(failed)

        def item(job: ItemJob) -> Item:
            found = cache.get(step, job.key)
            if found is None:  # damaged since
                fill(step, [job], cache, run, report)
                found = cache.get(step, job.key)
            if found is None:
                raise CorruptDataError(
                    f"the item of '{job.clip}' cannot be restored",
                    where=cache.path(step, job.key), next_step="check the disk, then try again",
                )  # fmt: skip
            return found

        yield Embedded(spec, embedding_attrs(spec, store), jobs, failed, report, item)


def _audio(
    recordings: Sequence[Recording], instrument: str, params: Params, cache: ItemCache, out: Path
) -> dict[str, str]:
    try:
        built = render_corpus(
            manifest_of(recordings), Path("/"), instrument, params, cache, out
        )  # fmt: skip
    except BadInputError as error:
        raise BadInputError(error.what, next_step="mend these files, then try again") from error
    return dict(built.quarantined)


def _fill(encoder: str, params: Params) -> Fill:
    block = params.encoders[encoder]
    return device_fill(block, encoder) if block.device == "cuda" else pool_fill(embed_item)


def _none(failed: dict[str, str]) -> BadInputError:
    told = "\n".join(f"  {name}: {reason}" for name, reason in failed.items())
    return BadInputError(
        f"no recording can be embedded\n{told}", next_step="mend these files, then try again"
    )


def write_embeddings(found: Embedded, layers: Layers, out: Path) -> list[str]:
    """Write the store ``out`` with the chosen layers of every file; returns their names.

    Raises
    ------
    ConfigError
        An unknown layer.
    PianoevalError
        As :func:`~pianoeval.store.write_store`.
    """
    chosen = parse_layers(layers, found.spec.layer_names)
    names = [found.spec.layer_names[i] for i in chosen]

    def items() -> Iterator[tuple[str, str, Item]]:
        for name, key, item in found.items():
            frames = _of_layers(item.arrays["frames"], chosen)
            yield name, key, Item(item.arrays | {"frames": frames}, item.meta, item.digest)

    attrs = found.attrs | {"layers": names}
    write_store(out, items(), attrs=attrs, quarantined=found.failed)
    return names


def _of_layers(frames: Array, chosen: Sequence[int]) -> Array:
    """Layers of frames; those in a row are a view, so that a long item stays on disk."""
    first, last = chosen[0], chosen[-1]
    if list(chosen) == list(range(first, last + 1)):
        return frames[:, first : last + 1]
    return np.ascontiguousarray(frames[:, list(chosen)])
