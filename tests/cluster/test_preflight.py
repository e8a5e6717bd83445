"""Each thing that can differ on a worker is told, with both values."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pianoeval.cluster import preflight
from pianoeval.cluster.preflight import ClusterError, Need, Requirements, check_worker, make_need
from pianoeval.params import MelParams, TranskunParams
from pianoeval.store import RaggedStore
from tests.cluster.work import write_audio

ADDRESS = "tcp://10.0.0.7:40001"


@pytest.fixture
def need(tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Need:
    """What the driver wants; this process is fit for it."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(preflight, "_SEEN_WITHIN_S", 0.2)
    audio = write_audio(tmp_path / "audio.zarr", 3)
    requirements = Requirements((audio,), (("mel", MelParams(chunk_s=1.0)),))
    return make_need("run", tmp_path, requirements)


def complaint(need: Need, threads: int = 1) -> str:
    with pytest.raises(ClusterError) as caught:
        check_worker(need, ADDRESS, threads)
    assert f"worker {ADDRESS}" in str(caught.value)
    assert "docs/cluster.md" in str(caught.value)
    return str(caught.value)


def test_a_worker_like_the_driver_may_work_and_shows_that_it_can_write(need: Need) -> None:
    check_worker(need, ADDRESS, 1)
    assert (need.folder / preflight.mark_name(ADDRESS)).read_text() == need.token


def test_versions(need: Need) -> None:
    ours = {**need.versions, "pianoeval": "99.1", "torch": "1.0"}
    told = complaint(dataclasses.replace(need, versions=ours))
    for name in ("pianoeval", "torch"):
        assert f"{name} is {need.versions[name]} there, {ours[name]} here" in told


def test_code_version_and_weights(need: Need) -> None:
    (name, params, facts) = need.encoders[0]
    changed = ((name, params, {**facts, "CODE_VERSION": "7"}),)
    told = complaint(dataclasses.replace(need, encoders=changed))
    assert f"CODE_VERSION of mel is {facts['CODE_VERSION']} there, 7 here" in told


def test_weights_that_are_not_there(need: Need, cache_folder: Path) -> None:
    transkun = TranskunParams()
    facts = preflight.encoder_facts("transkun", transkun)
    told = complaint(dataclasses.replace(need, encoders=(("transkun", transkun, facts),)))
    assert "encoder transkun: " in told


def test_threads_and_variables(need: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("MKL_NUM_THREADS", "8")
    told = complaint(need, threads=4)
    assert "4 threads" in told
    assert "OMP_NUM_THREADS is not set there" in told
    assert "MKL_NUM_THREADS is 8 there" in told


def test_another_cache(need: Need, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "other"))
    assert f"PIANOEVAL_CACHE is {tmp_path / 'other'} there, {need.cache} here" in complaint(need)


def test_a_folder_that_is_not_shared(need: Need, tmp_path: Path) -> None:
    assert "does not see" in complaint(dataclasses.replace(need, folder=tmp_path / "elsewhere"))
    assert "does not see" in complaint(dataclasses.replace(need, token="of another run"))


def test_a_folder_that_cannot_be_written(need: Need) -> None:
    (need.folder / preflight.mark_name(ADDRESS)).mkdir()  # also for root
    assert f"cannot write to {need.folder}" in complaint(need)


def test_audio(need: Need, tmp_path: Path) -> None:
    [ours] = need.stores.values()
    other = write_audio(tmp_path / "other.zarr", 4)
    theirs = preflight.store_digest(other)
    told = complaint(dataclasses.replace(need, stores={str(other): ours}))
    assert f"audio {other} is {theirs[:12]} there, {ours[:12]} here" in told
    told = complaint(dataclasses.replace(need, stores={str(tmp_path / "none.zarr"): ours}))
    assert "cannot read the audio" in told


def test_the_digest_of_a_store_covers_names_and_samples(tmp_path: Path) -> None:
    three, again, four = (
        write_audio(tmp_path / name, n) for name, n in (("a", 3), ("b", 3), ("c", 4))
    )
    assert preflight.store_digest(three) == preflight.store_digest(again)
    assert preflight.store_digest(three) != preflight.store_digest(four)
    assert len(RaggedStore(four)) == 4
