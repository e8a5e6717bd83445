"""Hostile archives, weights, stores and exported models."""

from __future__ import annotations

import io
import itertools
import json
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import hostile_text
import numpy as np
import pytest
import torch
from hostile_midi import damaged
from hostile_run import Case, check, run_cases, write_cases
from levels import FULL, scale
from safetensors.numpy import save

from pianoeval.assets import read_member
from pianoeval.cache import ItemCache
from pianoeval.provenance import canonical_json, sha256_bytes
from pianoeval.store import write_store
from pianoeval.training.export import CONFIG, FORMAT, FORMAT_VERSION, WEIGHTS

_MEMBER = "inside/file.bin"


@pytest.mark.parametrize(
    ("kind", "member"), [("wheel", _MEMBER), ("nested", "inside/outer.zip"), ("samples", "s")]
)
def test_zips(kind: str, member: str, tmp_path: Path) -> None:
    if kind == "samples":
        inputs: Iterator[tuple[str, bytes]] = _sample_sets(scale(6, 40))
    else:
        random_ones = hostile_text.archive_random(member, scale(10, 60), seed=0)
        inputs = itertools.chain(hostile_text.archive_tricks(member), random_ones)
    check(f"archives, {kind}", run_cases(write_cases(kind, inputs, tmp_path, ".zip")))


def _sample_sets(count: int) -> Iterator[tuple[str, bytes]]:
    """All 88 keys are there; what they hold is no recording, or packed away."""
    names = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
    for label, content in (
        ("text", b"fLaC"),
        ("zeros", bytes(1 << 20)),
        ("bomb", bytes(100 << 20)),
    ):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
            for key in range(21, 109):
                name = f"Piano.ff.{names[key % 12]}{key // 12 - 1}.flac"
                made.writestr(name, content if key == 60 else b"")
        yield label, stream.getvalue()
    yield from hostile_text.damaged_copies(stream.getvalue(), count, seed=0)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    packed = hostile_text.archive("a", bytes(1 << 20))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        with pytest.raises(ValueError, match="would unpack to 1048576 bytes"):
            read_member(archive, "a", limit=1000)
        assert len(read_member(archive, "a", limit=1 << 20)) == 1 << 20


def _weights() -> Iterator[tuple[str, bytes]]:
    good = save({"a": np.zeros((4, 4), np.float32)})
    heads = (
        {"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 64]}},
        {"a": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 2**60]}},
        {"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 64]}},
        {"a": {"dtype": "OBJ", "shape": [4], "data_offsets": [0, 64]}},
        {"a": {"dtype": "F32", "shape": [16], "data_offsets": [64, 0]}},
        {"__metadata__": {"a": 1}}, {}, [], "a", {"a": None},
    )  # fmt: skip
    for number, head in enumerate(heads):
        text = json.dumps(head).encode()
        yield f"head {number}.safetensors", len(text).to_bytes(8, "little") + text + bytes(64)
    for length in (0, 1, 2**32, 2**60, 2**64 - 1):
        yield f"head of {length}.safetensors", length.to_bytes(8, "little") + good[8:]
    deep = b'{"a":' * 100_000
    yield "deep head.safetensors", len(deep).to_bytes(8, "little") + deep
    for label, data in hostile_text.damaged_copies(good, scale(10, 80), seed=0):
        yield f"{label}.safetensors", data
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, stream)
    for label, data in hostile_text.damaged_copies(stream.getvalue(), scale(10, 80), seed=1):
        yield f"{label}.pt", data
    # Pickles that would run something, as torch wrote them before its zip files and as they are.
    for code in (b"cos\nsystem\n(S'touch x'\ntR.", b"cbuiltins\neval\n(S'1'\ntR.", b"(lp0\n."):
        yield "code.bin", code
        with zipfile.ZipFile(io.BytesIO(stream.getvalue())) as old:
            made = io.BytesIO()
            with zipfile.ZipFile(made, "w") as new:
                for name in old.namelist():
                    new.writestr(name, code if name.endswith("data.pkl") else old.read(name))
        yield "code.pt", made.getvalue()


def test_weights(tmp_path: Path) -> None:
    check("weights files", run_cases(write_cases("tensors", _weights(), tmp_path, "")))


def _write_item(root: Path) -> bytes:
    cache = ItemCache(root)
    frames = np.arange(12, dtype=np.int16).reshape(12, 1, 1)
    cache.put("audio", "0" * 64, {"frames": frames}, {"rate": 1})
    return cache.path("audio", "0" * 64).read_bytes()


def test_cached_items(tmp_path: Path) -> None:
    good = _write_item(tmp_path / "good")
    inputs = hostile_text.damaged_copies(good, scale(20, 150), seed=0)
    lies = (one for one in _weights() if one[0].startswith(("head", "deep")))
    cases = write_cases("item", itertools.chain(lies, inputs), tmp_path / "in", ".item")
    check("items of the cache", run_cases(cases))


def _exports(home: Path) -> Iterator[Case]:
    """Configurations whose checksums are right: whoever forges one, forges both."""
    weights = save({
        "median": np.zeros(2), "mean": np.zeros(2), "inverse_scale": np.ones(2),
        "weights": np.zeros((2, 1)), "intercept": np.zeros(1),
    })  # fmt: skip
    good = {
        "format": FORMAT, "format_version": FORMAT_VERSION,
        "inputs": {"source": "symbolic", "columns": ["a", "b"], "indicators": []},
        "dimensions": [{"name": "tone"}], "files": {WEIGHTS: sha256_bytes(weights)},
    }  # fmt: skip
    for number, (label, data) in enumerate(
        itertools.chain(
            hostile_text.json_tricks(),
            hostile_text.json_random(good, scale(25, 120), 0),
            [("good", json.dumps(good).encode())],
        )
    ):
        folder = home / f"{number:04}"
        folder.mkdir(parents=True)
        try:
            config = json.loads(data)
            config["sha256"] = sha256_bytes(canonical_json(config).encode())
            data = json.dumps(config).encode()
        except (ValueError, TypeError, RecursionError):
            pass  # it goes in as it is
        (folder / CONFIG).write_bytes(data)
        (folder / WEIGHTS).write_bytes(weights)
        yield Case("exported", folder, f"{number}:{label}")


def test_exported_models(tmp_path: Path) -> None:
    outcomes = run_cases(_exports(tmp_path))
    check("exported models", outcomes)
    assert outcomes[-1].verdict == "ok", outcomes[-1].text


def _stores(home: Path) -> Iterator[Case]:
    from pianoeval.itemfile import Item

    arrays = {"frames": np.ones((5, 2, 3), np.float16), "level": np.zeros(3, np.float32)}
    write_store(home / "good", [("a", "0" * 64, Item(arrays, {}, ""))], attrs={}, quarantined={})
    rng = random.Random(0)
    good = [path for path in sorted((home / "good").rglob("*")) if path.is_file()]
    for number in range(scale(15, 120)):
        folder = home / f"{number:04}"
        shutil.copytree(home / "good", folder)
        path = folder / rng.choice(good).relative_to(home / "good")
        label, data = damaged(path.read_bytes(), [path.read_bytes() or b"x"], rng)
        path.write_bytes(data)
        yield Case("store", folder, f"{number}:{path.parent.name}/{path.name} {label}")
    for number, codec in enumerate(("numcodecs.pickle", "pickle", "zstd", "unknown")):
        folder = home / f"codec{number}"
        shutil.copytree(home / "good", folder)
        path = folder / "level" / "zarr.json"
        about = json.loads(path.read_bytes())
        about["codecs"] = [{"name": codec, "configuration": {}}]
        path.write_text(json.dumps(about))
        yield Case("store", folder, f"codec {codec}")


def test_stores(tmp_path: Path) -> None:
    check("stores", run_cases(_stores(tmp_path)))


def test_the_thorough_run_has_two_thousand_inputs() -> None:
    """Of MIDI and recordings alone; counted where it is chosen, not where it runs."""
    if not FULL:
        pytest.skip("make faults")
    import hostile_audio
    import hostile_midi

    n = len(list(hostile_midi.tricks())) + len(list(hostile_audio.tricks())) + 900 + 1000
    assert n >= 2000
