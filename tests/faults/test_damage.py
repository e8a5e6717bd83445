"""Every kind of file that the pipeline reads back, damaged in every way: named, or computed again.

A reader gives a digest of all values that it read. After damage it must raise a PianoevalError that
says where and what next, or count the file as absent, or read the very same values (a flipped
blank). Anything else is a number that nobody would question.

Not checked, on purpose, because nothing reads them back: README.md of an exported model,
``reports/index.html``, ``reports/plots``, ``reports/metrics.json`` and ``folds.csv``, which are for
people. ``rates.json`` is an estimate; what cannot be read of it is passed over.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
import torch
from damages import DAMAGES, damaged
from finished import Finished
from levels import record, scale
from safetensors.torch import save_file
from workspaces import make_workspace, small_params

from pianoeval import assets
from pianoeval.cache import Item, ItemCache
from pianoeval.checkpoints import load_state, open_checkpoint, read_preprocessor, shelf
from pianoeval.checkpoints.get import get_checkpoint
from pianoeval.corpora.fetch import get_corpus, materialise
from pianoeval.corpora.manifest import (
    check_media,
    check_notes,
    read_labels,
    read_manifest,
)
from pianoeval.corpora.receipt import check_raw
from pianoeval.errors import CorruptDataError, PianoevalError
from pianoeval.evaluate.contrast.read import read_heads
from pianoeval.evaluate.predicted import read_predictions
from pianoeval.evaluate.protocol.receipt import check_results, read_audit
from pianoeval.evaluate.ranked.read import read_ranks
from pianoeval.features.pooling import PooledStore, pool_store
from pianoeval.midi.io import Performance, write_midi
from pianoeval.params import CheckpointParams, CorpusParams
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import canonical_json
from pianoeval.report.examples import load_examples
from pianoeval.sealed import check_listed
from pianoeval.store import RaggedStore, write_store
from pianoeval.tablefile import read_table, table_digest
from pianoeval.training.export import load_exported, save_exported
from pianoeval.training.final import train_final
from stages import (
    audit,
    contours,
    contrast,
    degrade,
    embed,
    evaluate,
    evaluate_contrast,
    evaluate_rank,
    examples,
    fetch,
    folds,
    ingest,
    pool,
    probe,
    rank,
    render,
)  # fmt: skip
from stages import report as report_stage
from stages import symbolic as symbolic_stage

ABSENT = "counts as absent"


def digest(*values: object) -> str:
    """SHA-256 of arrays, tables and whatever JSON holds."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            total.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        elif isinstance(value, torch.Tensor):
            total.update(digest(value.numpy()).encode())
        else:
            total.update(canonical_json(value).encode())
    return total.hexdigest()


# Readers ---------------------------------------------------------------------------------------


def read_store(path: Path) -> str:
    store = RaggedStore(path)
    pooled = store.pooled_mean if store._pooled_mean is not None else 0
    keys = [store.item_key(clip) for clip in store.clips]
    frames = [store.frames(clip) for clip in store.clips]
    return digest(store.attrs, store.clips, keys, store.quarantined, store.level, pooled, *frames)


def read_pooled(path: Path) -> str:
    store = PooledStore(path)
    about = (store.attrs, store.clips, store.quarantined, store.level)
    return digest(*about, store.matrix().values, sorted(store.matrix().blocks))


def read_any_table(path: Path) -> str:
    table = read_table(path)
    return table_digest(pa.Table.from_pandas(table)) + digest(dict(table.attrs))


def read_checkpoint(params: CheckpointParams) -> str:
    shelf._CHECKED.clear()
    found = open_checkpoint(params, "mert")
    state = load_state(found)
    about = (found.config, read_preprocessor(params, "mert"), found.licence, found.source)
    return digest(*about, sorted(state), *(state[name] for name in sorted(state)))


def read_asset(name: str) -> str:
    assets._CHECKED.clear()
    path = assets.asset_path(name)
    return digest(path.name)


def read_model(folder: Path) -> str:
    model = load_exported(folder)
    scaler = model.standardiser
    arrays = (scaler.median, scaler.mean, scaler.inverse_scale, model.weights, model.intercept)
    return digest(model.config, *arrays)


def read_item(cache: ItemCache, step: str, key: str) -> str:
    item = cache.get(step, key)
    return ABSENT if item is None else digest(item.meta, *item.arrays.values())


# Files -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """Files of one kind, and what reads each of them."""

    files: list[Path]
    read: Callable[[Path], str]
    apart: dict[str, str] = field(default_factory=dict)  # damages that do not apply, and why


@pytest.fixture(scope="module")
def spoilt(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """A copy of the finished workspace that this module damages and mends again."""
    copy = finished.copy(tmp_path_factory.mktemp("spoilt"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy.workspace)
        patch.setenv("PIANOEVAL_CACHE", str(copy.cache))
        yield copy


def below(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def tone(path: Path, hz: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(22_050) / 22_050
    soundfile.write(path, 0.2 * np.exp(-time_s) * np.sin(2 * np.pi * hz * time_s), 22_050)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> CorpusPaths:
    """A folder corpus of FLAC, WAV, MP3 and MIDI, fetched and ingested."""
    home = tmp_path_factory.mktemp("recordings")
    data = small_params()
    data["axes"]["corpus"] = ["folder"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(make_workspace(home / "workspace", data))
        patch.setenv("PIANOEVAL_CACHE", str(home / "cache"))
        for number, suffix in enumerate((".flac", ".flac", ".wav", ".wav", ".mp3", ".mp3")):
            tone(home / "from" / f"clip{number}{suffix}", 220.0 + 30 * number)
        for number in range(2):
            notes = [(0.2 * i, 0.2 * i + 0.1, 60 + i + number, 60) for i in range(9)]
            write_midi(Performance.from_notes(notes), home / "from" / f"notes{number}.mid")
        get_corpus("folder", CorpusParams(loader="folder"), home / "from")
        for stage in (fetch, ingest, degrade):
            stage.main("folder")
    return CorpusPaths("folder", home / "workspace")


def make_checkpoint(folder: Path, name: str) -> CheckpointParams:
    folder.mkdir(parents=True)
    state = {"layer.weight": torch.arange(3000, dtype=torch.float32).reshape(30, 100)}
    if name.endswith(".safetensors"):
        save_file(state, folder / name)
    else:
        torch.save(state, folder / name)
    (folder / "config.json").write_text('{"hidden_size": 8, "sample_rate": 24000}')
    (folder / "preprocessor_config.json").write_text('{"do_normalize": true}')
    params = CheckpointParams(kind="mert")
    found = get_checkpoint("mert", params, folder)
    return params.model_copy(update={"digest": found.digest})


def stores(root: Path) -> dict[str, Path]:
    return {
        "audio store": root / "audio/grand.zarr", "contours": root / "contours/grand.zarr",
        "skyline": root / "contours/skyline.zarr",
        "embeddings": root / "embeddings/mel/grand.zarr",
    }  # fmt: skip


@pytest.fixture(scope="module")
def kinds(
    spoilt: Finished, recordings: CorpusPaths, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Kind]:
    """Every kind of file that is read back."""
    found: dict[str, Kind] = {}
    paths = CorpusPaths("studio", spoilt.workspace)
    for name, store in stores(paths.root).items():
        found[name] = Kind(below(store), lambda _, store=store: read_store(store))
    pooled = paths.pooled("mel", "grand")
    found["pooled store"] = Kind(below(pooled), lambda _: read_pooled(pooled))
    cache = ItemCache(spoilt.cache / "items")
    for step in ("audio", "contour", "skyline", "embedding-mel", "probe", "rank", "contrast"):
        found[f"item of {step}"] = Kind(
            below(cache.root / step, "*.safetensors"),
            lambda path, step=step: read_item(cache, step, path.stem),
        )
    found["tables of clips"] = Kind(
        below(paths.clips, "*.parquet"),
        lambda _: (read_manifest(paths.manifest), read_labels(paths.labels), "read")[-1],
    )
    found |= {
        name: Kind([path], read_any_table)
        for name, path in (("folds", paths.folds), ("symbolic", paths.symbolic))
    }
    found["predictions"] = Kind(
        below(paths.root / "predictions"),
        # Their rows say which view they are of: which file holds them does not matter.
        lambda _: read_views(paths),
    )
    found["ranks"] = Kind(below(paths.ranks), lambda _: read_both_ranks(paths))
    found["heads"] = Kind(below(paths.contrast), lambda _: read_both_heads(paths))
    found["MIDI and scores"] = Kind(
        [*below(paths.source, "*.mid"), *below(paths.clips, "*.mid")],
        lambda _: read_notes(paths),
    )
    found["tables of source"] = Kind(
        [path for path in paths.source.iterdir() if path.is_file()],
        lambda _: (check_listed(paths.source, None, "again"), "read")[-1],
    )
    found["audit"] = Kind([paths.audit], lambda _: digest(read_audit(paths)))
    listed = ("results.csv", "comparisons.csv", "diagnostics.json", "latent.csv", "summary.json")
    found["results"] = Kind(
        [paths.evaluated, *(paths.results / name for name in (*listed, "leaks.csv"))],
        lambda _: (check_results(paths), "read")[-1],
    )
    of_ranks = ("ranking.csv", "rank_comparisons.csv", "disentanglement.csv")
    found["ranking"] = Kind(
        [paths.ranked, *(paths.results / name for name in of_ranks)],
        lambda _: (check_results(paths), "read")[-1],
    )
    of_heads = ("contrastive", "contrast_comparisons", "class_distances", "tsne", "contours")
    found["judged heads"] = Kind(
        [paths.contrasted, *(paths.results / f"{name}.csv" for name in of_heads)],
        lambda _: (check_results(paths), "read")[-1],
    )
    found["examples"] = Kind(
        [paths.examples], lambda _: digest(load_examples(paths)),
        {"removed": "the page then says which command makes them"},
    )  # fmt: skip
    found |= _fetched(spoilt, recordings, tmp_path_factory)
    model = tmp_path_factory.mktemp("model") / "exported"
    save_exported(train_final(paths, load_params(), "symbolic", "ridge"), model, "a card")
    parts = [model / "model.safetensors", model / "config.json"]
    found["exported model"] = Kind(parts, lambda _: read_model(model))
    return found


def read_views(paths: CorpusPaths) -> str:
    views = read_predictions(paths, ["mel", "symbolic"])
    return digest(*(part for name in sorted(views) for part in (name, views[name].to_csv())))


def read_both_ranks(paths: CorpusPaths) -> str:
    tables = read_ranks(paths, load_params(), read_table(paths.folds))
    return digest(*(part for table in tables for part in (table.to_csv(), dict(table.attrs))))


def read_both_heads(paths: CorpusPaths) -> str:
    tables = read_heads(paths, load_params(), read_table(paths.folds))
    return digest(*(part for table in tables for part in (table.to_csv(), dict(table.attrs))))


def read_notes(paths: CorpusPaths) -> str:
    check_notes(read_manifest(paths.manifest), paths.root)
    return "read"


def _fetched(
    spoilt: Finished, recordings: CorpusPaths, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Kind]:
    """What was brought from elsewhere: recordings, weights, fonts."""
    cached = recordings.workspace.parent / "cache/corpora/folder"
    folder = CorpusParams(loader="folder")

    def taken(_: Path) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PIANOEVAL_CACHE", str(cached.parents[1]))
            materialise("folder", folder, recordings.root / "again")
        return "read"

    def media(_: Path) -> str:
        check_media(read_manifest(recordings.manifest), recordings.root)
        return "read"

    # raw/ is made of links into the cache: copies, so that each is damaged alone.
    raw = recordings.root / "raw"
    shutil.copytree(raw, recordings.root / "copied")
    shutil.rmtree(raw)
    (recordings.root / "copied").rename(raw)
    found = {
        "fetched corpus": Kind(below(cached), taken),
        "raw": Kind(below(raw), lambda _: (check_raw(raw, "dvc repro"), "read")[-1]),
        "recordings": Kind(
            [p for p in below(recordings.source) if p.parent != recordings.source], media
        ),
    }
    for name in ("model.safetensors", "pytorch_model.bin"):
        params = make_checkpoint(tmp_path_factory.mktemp("weights") / "model", name)
        home = spoilt.cache / "checkpoints" / params.digest[:16]
        found[f"checkpoint {name}"] = Kind(below(home), lambda _, p=params: read_checkpoint(p))
    fetched = spoilt.cache / "assets"
    names = [name for name in assets.ASSETS if assets._location(name).is_file()]
    smallest = min(names, key=lambda name: assets._location(name).stat().st_size)
    chosen = names if scale(0, 1) else [smallest]
    places = {name: assets._location(name).relative_to(fetched) for name in chosen}
    linked = fetched.resolve()
    fetched.unlink()
    for place in places.values():
        (fetched / place).parent.mkdir(parents=True)
        shutil.copyfile(linked / place, fetched / place)
    for name, place in places.items():
        found[f"asset {name}"] = Kind([fetched / place], lambda _, name=name: read_asset(name))
    return found


# Damage ----------------------------------------------------------------------------------------

KINDS = (
    "audio store", "contours", "embeddings", "pooled store", "item of audio", "item of contour",
    "skyline", "item of skyline", "item of embedding-mel", "item of probe", "item of rank",
    "item of contrast", "tables of clips", "folds", "symbolic", "predictions", "ranks", "heads",
    "MIDI and scores", "tables of source", "audit", "results", "ranking", "judged heads",
    "examples",
    "fetched corpus", "raw", "recordings", "checkpoint model.safetensors",
    "checkpoint pytorch_model.bin", "assets", "exported model",
)  # fmt: skip


def outcome(kind: Kind, path: Path, clean: str) -> str:
    """What became of a damaged file; anything that must not be is an AssertionError."""
    try:
        found = kind.read(path)
    except PianoevalError as error:
        if not error.where or not error.next_step:
            raise AssertionError(f"says neither where nor what next: {error}") from error
        return "refused"
    if found == ABSENT:
        return "computed again"
    assert found == clean, f"{path} was read with other values"
    return "same values"


@pytest.mark.parametrize("name", KINDS)
def test_no_damage_is_believed(kinds: dict[str, Kind], name: str, tmp_path: Path) -> None:
    chosen = {key: kind for key, kind in kinds.items() if key.startswith(name.rstrip("s"))}
    assert chosen
    random = np.random.default_rng([ord(letter) for letter in name])
    seen: Counter[str] = Counter()
    for kind in chosen.values():
        clean: dict[Path, str] = {}
        for how, damage in DAMAGES.items():
            if how in kind.apart:
                continue
            for _ in range(scale(2, 60)):
                path = kind.files[random.integers(len(kind.files))]
                if path not in clean:
                    clean[path] = kind.read(path)
                    assert clean[path] != ABSENT
                others = [f for f in kind.files if f.suffix == path.suffix and f != path]
                random.shuffle(others)
                with damaged(damage, path, others[:1], random, tmp_path) as happened:
                    if happened:
                        seen[outcome(kind, path, clean[path])] += 1
        for path in list(clean)[-3:]:
            assert kind.read(path) == clean[path]  # it was the damage, and is over
    assert seen["refused"] + seen["computed again"]
    record(
        "damage", name, damages=seen.total(), refused=seen["refused"],
        computed_again=seen["computed again"], same_values=seen["same values"], believed=0,
    )  # fmt: skip


# Chunks of a store -----------------------------------------------------------------------------

CLIPS, FRAMES, LAYERS, DIM = 160, 32, 2, 4


def chunk_places(shard: Path) -> list[tuple[int, int]]:
    """Where the chunks of a shard lie: offset and bytes, as its index says at its beginning.

    https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
    """
    chunks = 256 // 8 * LAYERS
    index = np.frombuffer(shard.read_bytes()[: 16 * chunks], "<u8").reshape(-1, 2)
    return [(int(offset), int(length)) for offset, length in index]


def flipped_chunks(store: Path, share: float, random: np.random.Generator) -> tuple[set[str], int]:
    """Flip a bit in a share of all chunks; the clips that lie in them, and how many chunks."""
    shards = sorted((store / "frames/c").glob("*/0/0"), key=lambda p: int(p.parts[-3]))
    places = [(shard, n, at) for shard in shards for n, at in enumerate(chunk_places(shard))]
    assert len(places) >= 1000
    chosen = random.choice(len(places), round(share * len(places)), replace=False)
    hit = set()
    for shard, number, (offset, length) in (places[i] for i in chosen):
        data = bytearray(shard.read_bytes())
        data[offset + int(random.integers(length))] ^= 1 << int(random.integers(8))
        shard.write_bytes(data)
        frame = int(shard.parts[-3]) * 256 + number // LAYERS * 8
        hit.add(f"clip{frame // FRAMES}")
    return hit, len(chosen)


def test_of_a_store_with_one_percent_of_its_chunks_flipped_every_one_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pianoeval.shards._CHUNK_BYTES", 8 * DIM * 2)
    monkeypatch.setattr("pianoeval.shards._SHARD_BYTES", 256 * LAYERS * DIM * 2)
    random = np.random.default_rng(0)
    level = np.zeros(3, np.float32)
    frames = random.standard_normal((CLIPS, FRAMES, LAYERS, DIM)).astype(np.float16)
    items = [
        (f"clip{i}", f"key{i}", Item({"frames": frames[i], "level": level}, {}, ""))
        for i in range(CLIPS)
    ]
    write_store(tmp_path / "clean", items, attrs={"layers": ["1", "2"]}, quarantined={})
    flipped = hit = found = 0
    for _ in range(scale(2, 50)):
        shutil.copytree(tmp_path / "clean", tmp_path / "spoilt")
        expected, chunks = flipped_chunks(tmp_path / "spoilt", 0.01, random)
        store = RaggedStore(tmp_path / "spoilt")
        named = set()
        for clip, frame in zip(store.clips, frames, strict=True):
            try:
                np.testing.assert_array_equal(store.frames(clip), frame)
            except CorruptDataError as error:
                assert f"'{clip}'" in str(error)  # noqa: PT017
                named.add(clip)
        assert named == expected
        with pytest.raises(CorruptDataError, match=r"clip '.*' differs"):
            pool_store(store, ["mean"], tmp_path / "pooled")
        assert not (tmp_path / "pooled").exists()
        flipped, hit, found = flipped + chunks, hit + len(expected), found + len(named)
        shutil.rmtree(tmp_path / "spoilt")
    record("damage", "1 % of the chunks of a store", chunks_flipped=flipped, clips_hit=hit,
           clips_named=found, false_alarms=0)  # fmt: skip


# Stages ----------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """One bit that says something, at the middle or after; size and times stay."""
    before, clean = path.stat(), path.read_bytes()
    position = len(clean) // 2
    if path.parts[-4] == "c":  # of a shard, the rest is room: this is in its first clip
        position = 5000
    elif path.suffix == ".parquet":  # some bytes are said twice there, or not at all
        places = np.random.default_rng(0).integers(4, len(clean), 1000).tolist()
        position = next(i for i in places if changes(path, flipped(clean, i)))
    path.write_bytes(flipped(clean, position))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :]


def changes(path: Path, data: bytes) -> bool:
    """Whether pandas reads other values, or none."""
    try:
        return not pd.read_parquet(io.BytesIO(data)).equals(pd.read_parquet(path))
    except (OSError, ValueError, KeyError, TypeError):
        return True


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """File and time of change of everything below a folder: whatever is written changes one."""
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in below(folder)}


RECOMPUTED: dict[str, tuple[Callable[[], None], str]] = {
    "probe": (lambda: probe.main("studio", "mel"), "predictions/mel.parquet"),
    "rank": (lambda: rank.main("studio"), "ranks"),
    "contrast": (lambda: contrast.main("studio"), "contrast"),
    "audio": (lambda: render.main("studio", "grand"), "audio/grand.zarr"),
    "embedding-mel": (lambda: embed.main("studio", "mel", "grand"), "embeddings/mel/grand.zarr"),
    "contour": (lambda: contours.main("studio"), "contours/grand.zarr"),
    "skyline": (lambda: contours.main("studio"), "contours/skyline.zarr"),
}  # fmt: skip


@pytest.mark.parametrize("step", list(RECOMPUTED)[: scale(3, len(RECOMPUTED))])
def test_a_damaged_item_is_computed_again_to_the_same_bytes(
    spoilt: Finished, kinds: dict[str, Kind], step: str
) -> None:
    stage, name = RECOMPUTED[step]
    out = spoilt.workspace / "data/studio" / name
    made = {path: path.read_bytes() for path in ([out] if out.is_file() else below(out))}
    items = below(spoilt.cache / "items" / step, "*.safetensors")
    # Which items hold the models of which view their names do not say: all are damaged.
    chosen = items if step == "probe" else items[:1]
    before = {path: path.read_bytes() for path in chosen}
    for path in chosen:
        flip(path)
    stage()
    assert {path: path.read_bytes() for path in made} == made
    again = [path for path in chosen if path.read_bytes() == before[path]]
    assert len(again) == len(chosen) or (step == "probe" and again)
    for path, data in before.items():
        path.write_bytes(data)
    record("damage", f"items of {step} flipped", items=len(again), computed_again=len(again))


REFUSED: dict[str, tuple[str, Callable[[], None]]] = {
    "raw/receipt.json": ("ingest", lambda: ingest.main("studio")),
    "source/midi/*.mid": ("degrade", lambda: degrade.main("studio")),
    "source/score/*.mid": ("symbolic", lambda: symbolic_stage.main("studio")),
    "source/manifest.parquet": ("degrade", lambda: degrade.main("studio")),
    "source/quarantine.json": ("evaluate", lambda: evaluate.main("studio")),
    "clips/midi/*.mid": ("render", lambda: render.main("studio", "grand")),
    "clips/midi/*_t4.mid": ("audit", lambda: audit.main("studio")),
    "clips/manifest.parquet": ("folds", lambda: folds.main("studio")),
    "clips/labels.parquet": ("probe", lambda: probe.main("studio", "mel")),
    "audio/grand.zarr/frames/c/0/0/0": ("embed", lambda: embed.main("studio", "mel", "grand")),
    "audio/grand.zarr/zarr.json": ("contours", lambda: contours.main("studio")),
    "embeddings/mel/grand.zarr/frames/c/0/0/0": (
        "pool", lambda: pool.main("studio", "mel", "grand"),
    ),
    "features/mel/grand.zarr/values/c/0/0/0/0": ("probe", lambda: probe.main("studio", "mel")),
    "features/symbolic/table.parquet": ("probe", lambda: probe.main("studio", "symbolic")),
    "folds.parquet": ("probe", lambda: probe.main("studio", "mel")),
    "audit.json": ("probe", lambda: probe.main("studio", "mel")),
    "predictions/mel.parquet": ("evaluate", lambda: evaluate.main("studio")),
    "clips/label*.parquet": ("rank", lambda: rank.main("studio")),
    "features/mel/grand.zarr/values/c/0/0/*/0": ("rank", lambda: rank.main("studio")),
    "ranks/pairs.parquet": ("evaluate_rank", lambda: evaluate_rank.main("studio")),
    "ranks/codes.parquet": ("evaluate_rank", lambda: evaluate_rank.main("studio")),
    "predictions/symbolic.parquet": ("evaluate_rank", lambda: evaluate_rank.main("studio")),
    "contours/grand.zarr/frames/c/0/0/0": ("contrast", lambda: contrast.main("studio")),
    "clips/labe*.parquet": ("contrast", lambda: contrast.main("studio")),
    "fold*.parquet": ("contrast", lambda: contrast.main("studio")),
    "contrast/predictions.parquet": (
        "evaluate_contrast", lambda: evaluate_contrast.main("studio"),
    ),
    "contrast/latents.parquet": ("evaluate_contrast", lambda: evaluate_contrast.main("studio")),
    "../../reports/studio/diagnostics.json": ("examples", lambda: examples.main("studio")),
    "../../reports/studio/results.csv": ("report", report_stage.main),
    "../../reports/studio/ranking.csv": ("report", report_stage.main),
    "../../reports/studio/disentanglement.csv": ("report", report_stage.main),
    "../../reports/studio/contrastive.csv": ("report", report_stage.main),
    "../../reports/studio/tsne.csv": ("report", report_stage.main),
    "../../reports/studio/contours.csv": ("report", report_stage.main),
    "../evaluated/studio.ranking.json": ("report", report_stage.main),
    "../evaluated/studio.contrast.json": ("report", report_stage.main),
    "../evaluated/studio.examples.json": ("report", report_stage.main),
}  # fmt: skip


# To compute an item is to start a pool: seconds that ``make test`` does not have.
@pytest.mark.parametrize("name", [n for n in REFUSED if scale(0, 1) or REFUSED[n][0] != "embed"])
def test_a_stage_refuses_what_was_damaged_since_it_was_written(
    finished: Finished, spoilt: Finished, kinds: dict[str, Kind], name: str
) -> None:
    """One flipped bit, the file's size and times as before: DVC would not notice either."""
    stage, call = REFUSED[name]
    root = spoilt.workspace / "data/studio"
    path = sorted(root.glob(name))[0]
    kept: dict[Path, bytes] = {}
    if stage == "embed":  # audio is read where an item is missing: here that of the first clip
        store = RaggedStore(root / "embeddings/mel/grand.zarr")
        item = ItemCache().path("embedding-mel", store.item_key(store.clips[0]))
        kept[item] = item.read_bytes()
        item.unlink()
    kept[path] = path.read_bytes()
    before = stamps(spoilt.workspace)
    flip(path)
    try:
        with pytest.raises(PianoevalError) as caught:
            call()
        after = stamps(spoilt.workspace)
    finally:
        for file, data in kept.items():
            file.write_bytes(data)
    shown = str(caught.value)
    store_name = next((p for p in path.relative_to(root).parts if p.endswith(".zarr")), path.name)
    assert store_name in shown or path.stem in shown, shown
    assert caught.value.next_step
    gone = {str(root / "audit.json"), str(spoilt.workspace / "reports/studio/leaks.csv")}
    lost = gone if stage == "audit" else set()  # a former receipt would say: clean
    assert before.keys() - after.keys() == lost
    assert {k: v for k, v in before.items() if k not in lost} == after
    for gone_file in lost:
        place = Path(gone_file).relative_to(spoilt.workspace)
        shutil.copyfile(finished.workspace / place, gone_file)
    record("damage", f"{name.removeprefix('../')} flipped before {stage}", refused=1)
