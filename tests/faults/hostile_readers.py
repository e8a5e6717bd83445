"""What the product does with a file of each kind, from reading to the last thing that uses it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from workspaces import ROOT, small_params

from pianoeval.assets import ASSETS, _member
from pianoeval.audio.pedal import damping
from pianoeval.audio.render import RenderJob, render_item, render_performance, validate_performance
from pianoeval.audio.sources import SampleSetSource
from pianoeval.cache import ItemCache
from pianoeval.checkpoints.shelf import parse_config
from pianoeval.checkpoints.tensors import read_tensors
from pianoeval.compare.places import open_place, read_params
from pianoeval.corpora import folder
from pianoeval.corpora.content_groups import note_stream
from pianoeval.corpora.fetch import list_folder
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.corpora.percepiano_ratings import read_means, read_ratings
from pianoeval.corpora.receipt import read_checksums, read_receipt
from pianoeval.errors import MissingAssetError
from pianoeval.features.symbolic import performance_features
from pianoeval.midi.io import Performance, read_midi, write_midi
from pianoeval.midi.relative import relative_features
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.params_edit import set_values
from pianoeval.params_file import load_params, parse_params
from pianoeval.paths import CorpusPaths
from pianoeval.report import load_corpus_report
from pianoeval.store import RaggedStore
from pianoeval.training.export import load_exported

LIMITS = MidiLimits()
FOLDER = CorpusParams(loader="folder")
PARAMS = parse_params(small_params())
INSTRUMENT = PARAMS.instruments["grand"]
_SCALE = Performance.from_notes([(0.5 * i, 0.5 * i + 0.4, 60 + i, 64) for i in range(8)])


def midi(path: Path, work: Path) -> None:
    """Ingest, symbolic features (alone and against a score), and the render up to its sound."""
    performance = read_midi(path, LIMITS)
    note_stream(performance)
    performance_features(performance)
    if performance.n_notes < 5000:
        relative_features(performance, _SCALE)
    write_midi(performance, work / "again.mid")
    validate_performance(performance, LIMITS)
    damping(performance, 25, 85).ends_s()


def rendered(path: Path, work: Path) -> None:
    """As the stage ``render`` does; of what is short, for the time it takes."""
    performance = read_midi(path, LIMITS)
    with suppress(MissingAssetError):  # no sound font on this machine
        render_performance(performance, INSTRUMENT, PARAMS.render, LIMITS)


def audio(path: Path, work: Path) -> None:
    """Ingest reads the header, the stage ``render`` the samples."""
    end_s = folder.audio_duration_s(path, LIMITS)
    job = RenderJob(path, True, 0.0, end_s, INSTRUMENT, PARAMS.render, LIMITS)
    arrays, meta = render_item(job)
    ItemCache(work / "cache").put("audio", "0" * 64, arrays, meta)


def corpus(path: Path, work: Path) -> None:
    """A folder corpus with hostile tables or names."""
    list_folder(path)
    out = work / "source"
    out.mkdir()
    folder.ingest(FOLDER, "mine", path, out, LIMITS)
    read_manifest(out / "manifest.parquet")
    labels = read_labels(out / "labels.parquet")
    assert np.isfinite(labels["value"].to_numpy(float)).all()


def params(path: Path, work: Path) -> None:
    load_params(path)


def edited(path: Path, work: Path) -> None:
    """``pianoeval encoder get`` writes into params.yaml; ``compare`` reads another's."""
    copy = work / "params.yaml"
    shutil.copyfile(path, copy)
    with open_place(str(work)) as place:
        read_params(place)
    set_values(copy, ["encoders", "muq"], {"digest": "0" * 64})


def means(path: Path, work: Path) -> None:
    read_means(path)


def ratings(path: Path, work: Path) -> None:
    read_ratings(path, {"a", "b"})


def receipt(path: Path, work: Path) -> None:
    shutil.copyfile(path, work / "receipt.json")
    read_receipt(work, "dvc repro")


def checksums(path: Path, work: Path) -> None:
    read_checksums(path)


def tensors(path: Path, work: Path) -> None:
    read_tensors(path)


def config(path: Path, work: Path) -> None:
    parse_config(path)


def exported(path: Path, work: Path) -> None:
    """``path`` is a folder."""
    model = load_exported(path)
    model.dimensions  # noqa: B018
    model.predict(np.zeros((1, len(model.weights))))


def store(path: Path, work: Path) -> None:
    found = RaggedStore(path)
    for clip in found.clips:
        found.frames(clip)


def item(path: Path, work: Path) -> None:
    cache = ItemCache(work / "cache")
    place = cache.path("audio", "0" * 64)
    place.parent.mkdir(parents=True)
    shutil.copyfile(path, place)
    cache.get("audio", "0" * 64)


def wheel(path: Path, work: Path) -> None:
    asset = replace(next(iter(ASSETS.values())), member="inside/file.bin")
    _member(path, asset)


def nested(path: Path, work: Path) -> None:
    asset = replace(next(iter(ASSETS.values())), member="inside/outer.zip!file.bin")
    _member(path, asset)


def samples(path: Path, work: Path) -> None:
    SampleSetSource(path).sample(60, 127, 0.0, 1.0)


def report(path: Path, work: Path) -> None:
    """``path`` is a folder with the files of ``reports/<corpus>``."""
    os.chdir(work)
    (work / "dvc.yaml").write_text("stages: {}\n")
    shutil.copytree(path, work / "reports" / "mine")
    load_corpus_report(CorpusPaths("mine"), [], results_only=True)


READERS: dict[str, Callable[[Path, Path], None]] = {
    reader.__name__: reader
    for reader in (
        midi, rendered, audio, corpus, params, edited, means, ratings, receipt, checksums, tensors,
        config, exported, store, item, wheel, nested, samples, report,
    )
}  # fmt: skip


def warm_up(work: Path) -> None:
    """Import and compile what the readers use, so that inputs are measured and not libraries."""
    work.mkdir(parents=True)
    path = work / "warm.mid"
    write_midi(_SCALE, path)
    midi(path, work)
    rendered(path, work)
    path = work / "warm.wav"
    soundfile.write(path, np.zeros(8000, np.float32) + 0.1, 16_000)
    audio(path, work)
    load_params(ROOT / "params.yaml")
    pd.DataFrame({"a": ["b"]}).to_parquet(work / "a.parquet")
    read_manifest.__module__  # noqa: B018
    import safetensors.torch  # noqa: F401
    import torch  # noqa: F401
    import zarr  # noqa: F401
