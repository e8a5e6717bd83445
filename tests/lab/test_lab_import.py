"""From another repository: a store of this one, verified there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from lab_cases import Clone, Lab, commands

from pianoeval.errors import CorruptDataError
from pianoeval.store import RaggedStore

STORE = "data/studio/embeddings/mel/grand.zarr"


def same(store: RaggedStore, origin: Clone) -> None:
    there = RaggedStore(origin.folder / STORE)
    assert store.clips == there.clips
    for clip in there.clips:
        np.testing.assert_array_equal(store.frames(clip), there.frames(clip))


def test_a_store_is_imported_with_its_commit(lab: Lab, tmp_path: Path) -> None:
    other = Clone(tmp_path / "other", tmp_path / "items")
    other.folder.mkdir()
    other.shell("git init --quiet && dvc init --quiet")
    other.shell(commands("import", REPOSITORY=lab.repository))
    record = yaml.safe_load((other.folder / "grand.zarr.dvc").read_text(encoding="utf-8"))
    source = record["deps"][0]
    assert source["path"] == STORE
    head = other.run("git", f"--git-dir={lab.repository}", "rev-parse", "HEAD").strip()
    assert source["repo"]["rev_lock"] == head
    same(RaggedStore(other.folder / "grand.zarr"), lab.origin)


def test_two_lines_of_python_open_a_store(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = commands("api", REPOSITORY=lab.repository)
    clip = RaggedStore(lab.origin.folder / STORE).clips[0]
    names: dict[str, object] = {}
    exec(code.replace("bach-bwv227_b01-01_player_1", clip), names)
    same(RaggedStore(Path("grand.zarr")), lab.origin)
    frames = names["frames"]
    assert isinstance(frames, np.ndarray)
    np.testing.assert_array_equal(frames, RaggedStore(lab.origin.folder / STORE).frames(clip))
    # What arrives is checked where it arrived.
    shard = max(
        (p for p in Path("grand.zarr").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.unlink()
    shard.write_bytes(bytes(data))
    broken = RaggedStore(Path("grand.zarr"))
    with pytest.raises(CorruptDataError):
        [broken.frames(name) for name in broken.clips]


def test_a_small_file_opens_in_place(lab: Lab) -> None:
    import dvc.api
    import pandas as pd

    path = "data/studio/predictions/mel.parquet"
    with dvc.api.open(path, repo=str(lab.repository), mode="rb") as stream:
        found = pd.read_parquet(stream)
    pd.testing.assert_frame_equal(found, pd.read_parquet(lab.origin.folder / path))
    assert dvc.api.get_url(path, repo=str(lab.repository)).startswith(str(lab.remote))
