"""Disks that are full, read-only, closed or gone, and clocks that jump.

Full and read-only disks are real ones: a tmpfs that the test mounts. Where that is not allowed (no
root), these tests skip and the limit of file sizes, which every user may set, stands in.
"""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as JobTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from damages import kept_times, nap
from finished import STAGES, Finished
from levels import record, scale
from safetensors.torch import save_file

import stages
from pianoeval import assets
from pianoeval.builder import BuildReport, ItemJob, build_store
from pianoeval.cache import ItemCache
from pianoeval.checkpoints.get import get_checkpoint
from pianoeval.checkpoints.shelf import shelf, staging
from pianoeval.cluster.fill import _run_folder
from pianoeval.corpora.fetch import get_corpus
from pianoeval.errors import PianoevalError
from pianoeval.params import CheckpointParams, CorpusParams, RunParams
from pianoeval.steady import ProcessPool
from pianoeval.store import RaggedStore

OUTPUTS = {
    "fetch": ["data/studio/raw"],
    "ingest": ["data/studio/source"],
    "degrade": ["data/studio/clips"],
    "render": ["data/studio/audio"],
    "contours": ["data/studio/contours", "reports/studio/contours.csv"],
    "embed": ["data/studio/embeddings"],
    "pool": ["data/studio/features/mel"],
    "symbolic": ["data/studio/features/symbolic"],
    "notes": ["data/studio/features/notes"],
    "folds": ["data/studio/folds.parquet", "reports/studio/folds.csv"],
    "audit": ["data/studio/audit.json", "reports/studio/leaks.csv"],
    "fuse": ["data/studio/predictions/fusion.parquet"],
    "rank": ["data/studio/ranks"],
    "evaluate_rank": [
        "data/evaluated/studio.ranking.json",
        "reports/studio/ranking.csv",
        "reports/studio/rank_comparisons.csv",
        "reports/studio/disentanglement.csv",
    ],
    "contrast": ["data/studio/contrast"],
    "evaluate_contrast": [
        "data/evaluated/studio.contrast.json",
        "reports/studio/contrastive.csv",
        "reports/studio/contrast_comparisons.csv",
        "reports/studio/class_distances.csv",
        "reports/studio/tsne.csv",
    ],
    "evaluate": ["data/evaluated/studio.json", "reports/studio/results.csv"],
    "examples": ["data/evaluated/studio.examples.json"],
    "report": ["reports/index.html", "reports/plots", "reports/metrics.json"],
}
NOBODY = 65534


# Disks -----------------------------------------------------------------------------------------


@contextmanager
def mounted(options: str) -> Iterator[Path]:
    """A file system of its own, in memory; skips where none can be mounted."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="small-disk."))
    command = ["mount", "-t", "tmpfs", "-o", f"{options},mode=755", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@contextmanager
def filled(disk: Path, room: int) -> Iterator[None]:
    """The disk with so many bytes of room."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with ballast.open("wb") as stream:
        if free > room:
            os.posix_fallocate(stream.fileno(), 0, free - room)
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def working_in(place: Finished) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.workspace)
        patch.setenv("PIANOEVAL_CACHE", str(place.cache))
        yield


def call(stage: Sequence[str]) -> None:
    """A stage in this process; what ``stages.run`` has words for is raised with these."""
    try:
        __import__(f"stages.{stage[0]}", fromlist=["main"]).main(*stage[1:])
    except OSError as error:
        if error.errno not in stages._DISK:
            raise
        raise PianoevalError(
            str(error.strerror), where=error.filename, next_step="as stages.run says"
        ) from error


def made_by(stage: Sequence[str]) -> list[str]:
    if stage[0] == "probe":
        return [f"data/studio/predictions/{stage[2]}.parquet"]
    return OUTPUTS[stage[0]]


def outputs(place: Finished, stage: Sequence[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in made_by(stage):
        top = place.workspace / name
        for path in [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file()):
            found[path.relative_to(place.workspace).as_posix()] = path.read_bytes()
    return found


def forget(place: Finished, stage: Sequence[str]) -> None:
    """Remove what a stage made, and three of its items."""
    for name in made_by(stage):
        path = place.workspace / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    steps = {
        "render": "audio", "contours": "contour", "embed": "embedding-mel", "probe": "probe",
        "rank": "rank", "contrast": "contrast",
    }  # fmt: skip
    for item in items(place, steps.get(stage[0], "none"))[:3]:
        item.unlink()


def items(place: Finished, step: str = "*") -> list[Path]:
    return sorted((place.cache / "items").glob(f"{step}/*/*.safetensors"))


def leftovers(*folders: Path) -> list[Path]:
    """Hidden files, and what lies where unfinished items are written."""
    found = [path for folder in folders for path in folder.rglob(".*")]
    return found + [p for f in folders for p in f.glob("items/*/unfinished/*")]


@pytest.fixture(scope="module")
def small(finished: Finished) -> Iterator[tuple[Path, Finished]]:
    """A disk that holds a finished workspace and its cache, and not much more."""
    with mounted("size=600m") as disk:
        yield disk, finished.copy(disk / "lab")


SHORT = (
    ("probe", "studio", "mel"), ("pool", "studio", "mel", "grand"), ("rank", "studio"), ("report",)
)  # fmt: skip


@pytest.mark.parametrize("stage", SHORT if scale(0, 1) == 0 else STAGES, ids="-".join)
def test_a_full_disk_stops_a_stage_with_one_message_and_room_lets_it_finish(
    finished: Finished, small: tuple[Path, Finished], stage: tuple[str, ...]
) -> None:
    """Everything is on the disk. It fills up at some point of what the stage writes."""
    disk, place = small
    wanted = outputs(finished, stage)
    size = sum(len(data) for data in wanted.values())
    stopped = 0
    for room in [size // 2, *np.random.default_rng(0).integers(0, size, scale(0, 5)).tolist()]:
        forget(place, stage)
        kept = {path: path.read_bytes() for path in items(place)}
        with working_in(place):
            with filled(disk, room // 4096 * 4096):
                try:
                    call(stage)
                except PianoevalError as error:
                    stopped += 1
                    message = str(error)
                    assert "No space left" in message, message
                    assert "\n  next: " in message, message
            assert leftovers(place.workspace, place.cache) == []
            assert all(path.read_bytes() == data for path, data in kept.items())
            call(stage)
        found = outputs(place, stage)
        assert found.keys() == wanted.keys()
        assert [name for name in wanted if found[name] != wanted[name]] == []
    assert stopped
    record("disk", f"full in {stage[0]}", runs=stopped, partial_files=0, same_bytes_after="yes")


def test_a_full_disk_is_one_message_of_a_process(
    finished: Finished, small: tuple[Path, Finished]
) -> None:
    disk, place = small
    pool = ("pool", "studio", "mel", "grand")
    forget(place, pool)
    with filled(disk, 0):
        done = place.stage(*pool)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("ERROR") == 1
    assert "next: " in done.stderr
    with working_in(place):
        call(pool)
    assert outputs(place, pool) == outputs(finished, pool)


def fetched_font(cache: Path, patch: pytest.MonkeyPatch) -> Path:
    """``pianoeval fetch`` of an asset, but for the download."""
    data = b"font" * 30_000
    made = assets.Asset("p", "1", "p/f.sf2", assets.sha256_bytes(data), "MIT", "")
    patch.setitem(assets.ASSETS, "made", made)
    patch.setattr(assets, "_download", lambda asset, folder: folder)
    patch.setattr(assets, "_member", lambda wheel, asset: data)
    return assets.fetch_asset("made")


def got_corpus(cache: Path, patch: pytest.MonkeyPatch) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(4):
            (Path(folder) / f"clip{number}.wav").write_bytes(bytes(50_000))
        return get_corpus("mine", CorpusParams(loader="folder"), Path(folder))


def got_weights(cache: Path, patch: pytest.MonkeyPatch) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        save_file({"w": torch.zeros(40_000)}, Path(folder) / "model.safetensors")
        return get_checkpoint("mert", CheckpointParams(kind="mert"), Path(folder)).weights


@pytest.mark.parametrize("get", [fetched_font, got_corpus, got_weights])
def test_what_is_fetched_onto_a_full_disk_is_whole_or_absent(
    monkeypatch: pytest.MonkeyPatch, get: Callable[[Path, pytest.MonkeyPatch], Path]
) -> None:
    with mounted("size=2m") as disk:
        monkeypatch.setenv("PIANOEVAL_CACHE", str(disk / "cache"))
        rooms = [4096, *range(0, 110_000, 110_000 // scale(3, 30))]
        for room in rooms:
            with filled(disk, room // 4096 * 4096), pytest.raises(PianoevalError) as caught:
                get(disk, monkeypatch)
            assert "No space left" in str(caught.value)
            assert caught.value.next_step
            assert [p for p in disk.rglob("*") if p.is_file()] == []
            assert leftovers(disk) == []
        got = get(disk, monkeypatch)
        assert got.exists()
    name = get.__name__.replace("_", " ")
    record("disk", f"full while {name}", runs=len(rooms), partial_files=0)


def test_no_inodes_left_is_a_full_disk(tmp_path: Path) -> None:
    with mounted("size=4m,nr_inodes=24") as disk:
        cache = ItemCache(disk / "items")
        written = []
        keys = (f"{number:02d}" * 32 for number in range(99))

        def fill() -> None:
            for number, key in enumerate(keys):
                cache.put("x", key, {"a": np.full(9, number)}, {})
                written.append(key)

        with pytest.raises(PianoevalError, match="No space left") as caught:
            fill()
        assert caught.value.next_step
        assert written
        assert leftovers(disk) == []
        for number, key in enumerate(written):
            item = cache.get("x", key)
            assert item is not None
            assert (item.arrays["a"] == number).all()
        record("disk", "no inodes left", items_kept=len(written), partial_files=0)


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of file sizes here")
@pytest.mark.parametrize(
    "stage", [("pool", "studio", "mel", "grand"), ("evaluate", "studio")][: scale(1, 2)]
)
def test_files_that_may_not_grow_are_one_message(
    finished: Finished, tmp_path: Path, stage: tuple[str, ...]
) -> None:
    """The same without root: every write past 2000 bytes fails (EFBIG)."""
    place = finished.copy(tmp_path)
    wanted = outputs(finished, stage)
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]], cwd=place.workspace,
        env=place.environment(), capture_output=True, text=True, check=False,
        preexec_fn=limit_files,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, done.stderr
    assert "File too large" in done.stderr
    assert "next: " in done.stderr
    assert leftovers(place.workspace, place.cache) == []
    with working_in(place):
        call(stage)
    assert outputs(place, stage) == wanted


# Read only -------------------------------------------------------------------------------------


@pytest.fixture
def read_only(finished: Finished, tmp_path: Path) -> Iterator[Finished]:
    """A workspace whose full cache cannot be written; two items of ``probe`` are damaged."""
    with mounted("size=300m") as disk:
        shutil.copytree(finished.cache, disk / "cache", symlinks=True)
        shutil.copytree(finished.workspace, tmp_path / "workspace", symlinks=True)
        place = Finished(tmp_path / "workspace", disk / "cache")
        # As old as a cache is that others have filled long ago: its items' times would be renewed.
        for path in (disk / "cache").rglob("*"):
            os.utime(path, (1.5e9, 1.5e9), follow_symlinks=False)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        yield place
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def test_a_full_cache_that_is_read_only_serves_every_stage(
    finished: Finished, read_only: Finished
) -> None:
    with working_in(read_only):
        for stage in STAGES[3:7] + STAGES[10:12]:
            for path in outputs(read_only, stage):
                (read_only.workspace / path).unlink()
        for stage in STAGES[3:7] + STAGES[10:12]:
            call(stage)
        for stage in STAGES[3:7] + STAGES[10:12]:
            assert outputs(read_only, stage) == outputs(finished, stage)
    record("disk", "read-only cache, complete", stages=6, same_bytes="yes")


@contextmanager
def writable(cache: Path) -> Iterator[None]:
    disk = str(cache.parent)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


def test_what_a_read_only_cache_lacks_or_has_damaged_is_said(read_only: Finished) -> None:
    probe = ("probe", "studio", "mel")
    with writable(read_only.cache):
        for path in items(read_only, "probe"):
            with kept_times(path):
                path.write_bytes(path.read_bytes()[:-1])
    with working_in(read_only), pytest.raises(PianoevalError) as caught:
        call(probe)
    assert "damaged and cannot be removed (Read-only file system)" in str(caught.value)
    assert "PIANOEVAL_CACHE" in str(caught.value.next_step)
    with writable(read_only.cache):
        for path in items(read_only, "probe"):
            path.unlink()
    with working_in(read_only), pytest.raises(PianoevalError) as caught:
        call(probe)
    assert "Read-only file system" in str(caught.value)
    assert "PIANOEVAL_CACHE" in str(caught.value.next_step)
    record("disk", "read-only cache, item missing or damaged", refused=2)


# Permissions -----------------------------------------------------------------------------------


@contextmanager
def as_somebody() -> Iterator[None]:
    """Root may do everything: for a while this process is a user who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def closed(finished: Finished) -> Iterator[Finished]:
    """A copy that a user without rights owns, where that user can reach it."""
    home = Path(tempfile.mkdtemp(prefix="closed."))
    home.chmod(0o755)
    place = finished.copy(home)
    if os.geteuid() == 0:
        for path in (place.workspace, place.cache):
            for one in (path, *path.rglob("*")):
                os.chown(one, NOBODY, NOBODY, follow_symlinks=False)
    yield place
    for folder in home.rglob("*"):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)
    shutil.rmtree(home)


def store_file(place: Finished) -> Path:
    return place.workspace / "data/studio/embeddings/mel/grand.zarr/level/c/0/0"


DENIED: dict[str, tuple[Callable[[Finished], Path], int, tuple[str, ...]]] = {
    "one item": (lambda p: items(p, "audio")[0], 0o000, ("render", "studio", "grand")),
    "one file of a store": (store_file, 0o000, ("pool", "studio", "mel", "grand")),
    "one table": (
        lambda p: p.workspace / "data/studio/folds.parquet", 0o000, ("probe", "studio", "mel"),
    ),
    "a folder of the workspace": (
        lambda p: p.workspace / "data/studio/features/mel", 0o555,
        ("pool", "studio", "mel", "grand"),
    ),
    "the reports": (lambda p: p.workspace / "reports/studio", 0o555, ("evaluate", "studio")),
}  # fmt: skip


@pytest.mark.parametrize("what", list(DENIED)[: scale(4, 5)])
def test_what_may_not_be_read_or_written_is_one_message(
    finished: Finished, closed: Finished, what: str
) -> None:
    find, mode, stage = DENIED[what]
    path = find(closed)
    before = path.stat().st_mode
    path.chmod(mode)
    with working_in(closed), as_somebody():
        with pytest.raises(PianoevalError) as caught:
            call(stage)
        assert "Permission denied" in str(caught.value)
        assert caught.value.where
        assert caught.value.next_step
        path.chmod(before)
        call(stage)
    assert outputs(closed, stage) == outputs(finished, stage)
    assert leftovers(closed.workspace, closed.cache) == []
    record("disk", f"permission denied: {what}", refused=1)


def test_a_cache_that_may_not_be_written_is_said_when_something_must_be(closed: Finished) -> None:
    for path in items(closed, "probe"):
        path.unlink()
    for folder in (closed.cache / "items", closed.cache / "items/probe/unfinished"):
        folder.chmod(0o555)
    with working_in(closed), as_somebody(), pytest.raises(PianoevalError) as caught:
        call(("probe", "studio", "mel"))
    assert "cannot write (Permission denied)" in str(caught.value)
    assert "PIANOEVAL_CACHE" in str(caught.value.next_step)


# A cache that goes away ------------------------------------------------------------------------


@dataclass
class Filler:
    """Computes items in this process; ``between`` is called before each."""

    between: Callable[[int], None]
    computed: int = 0

    def __call__(
        self, step: str, todo: Sequence[ItemJob], cache: ItemCache, run: RunParams,
        report: BuildReport,
    ) -> dict[str, str]:  # fmt: skip
        for job in todo:
            self.between(self.computed)
            self.computed += 1
            frames = np.full((5, 1, 2), int(job.clip), np.float16)
            level = np.zeros(3, np.float32)
            cache.put(step, job.key, {"frames": frames, "level": level}, {})
        return {}


def build(cache: ItemCache, out: Path, filler: Filler, n: int = 6) -> None:
    jobs = [ItemJob(str(i), f"{i:02d}" * 32, None, 1.0) for i in range(n)]
    build_store(
        "x", jobs, len, cache=cache, out=out, attrs={}, run=RunParams(), fill=filler
    )  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


def test_a_cache_that_vanishes_is_filled_again(tmp_path: Path) -> None:
    """Somebody cleans up, or a disk is unmounted, while items are computed."""
    build(ItemCache(tmp_path / "a"), tmp_path / "a.zarr", Filler(lambda _: None))

    def vanish(number: int) -> None:
        if number == 3:
            shutil.rmtree(tmp_path / "b")

    filler = Filler(vanish)
    build(ItemCache(tmp_path / "b"), tmp_path / "b.zarr", filler)
    assert filler.computed == 6 + 3
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")
    record("disk", "cache vanishes during a run", items_lost=3, computed_again=3)


# Names -----------------------------------------------------------------------------------------

NAME = 'Prüfung der "5." Klasse\'s Übungen & $HOME; (x) ♪'


def test_a_path_may_have_spaces_quotes_umlauts_and_length(
    finished: Finished, tmp_path: Path
) -> None:
    place = finished.copy(tmp_path / NAME / ("long" * 40))
    assert len(str(place.workspace)) > 200
    done = [STAGES[i] for i in (6, 11, 12, 14)]
    for stage in done:
        for path in outputs(place, stage):
            (place.workspace / path).unlink()
    with working_in(place):
        call(("probe", "studio", "symbolic"))
        for stage in done:
            call(stage)
            assert outputs(place, stage) == outputs(finished, stage)
        store = place.workspace / "data/studio/audio/grand.zarr"
        (store / "zarr.json").write_text("{}")
        with pytest.raises(PianoevalError) as caught:
            RaggedStore(store)
        assert "not a store" in str(caught.value)
        (place.workspace / "data/studio/folds.parquet").write_bytes(b"")
        with pytest.raises(PianoevalError) as caught:
            call(("probe", "studio", "mel"))
    command = str(caught.value.next_step)
    if command.startswith("rm "):  # what a user pastes removes that file and no other
        assert shlex.split(command)[1] == str(place.workspace / "data/studio/folds.parquet")


# Clocks ----------------------------------------------------------------------------------------

YEARS = 5 * 365 * 24 * 3600.0


@pytest.mark.parametrize("jump", [YEARS, -YEARS])
def test_time_limits_of_workers_do_not_hang_on_the_clock(
    monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Set forward, nothing in work has hung; set back, what hangs still ends."""
    with ProcessPool(max_workers=1, context=get_context("spawn")) as pool:
        assert pool.schedule(nap, args=[0.0]).result() == "awake"
        working = pool.schedule(nap, args=[1.0], timeout=60)
        while not working.running():
            time.sleep(0.01)
        monkeypatch.setattr(time, "time", lambda now=time.time: now() + jump)
        assert working.result() == "awake"
        hanging = pool.schedule(nap, args=[60.0], timeout=0.5)
        with pytest.raises(JobTimeout):
            hanging.result(timeout=30)
        pool.stop()
    record("clock", "jumps while a worker is at work", jump_s=jump, wrongly_ended=0, hangs=0)


def old(path: Path, days: float) -> None:
    then = path.stat().st_mtime - days * 24 * 3600
    for one in (*path.rglob("*"), path):
        os.utime(one, (then, then))


@pytest.mark.parametrize("jump", [0.0, YEARS, -YEARS])
def test_what_others_are_writing_stays_whatever_this_host_thinks_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Unfinished items, checkpoints, corpora and runs of a cluster: all by the disk's clock."""
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + jump)
    cache = ItemCache(tmp_path / "cache/items")
    live = cache.writer("x", "ab" * 32, {"a": ((3,), "u1")}, {})
    killed = tmp_path / "cache/items/x/unfinished/.killed"
    killed.write_bytes(b"half")
    old(killed, 2)
    shelf().mkdir(parents=True)
    folders = {}
    for name in (".new.live", ".new.killed"):
        folders[name] = shelf() / name
        folders[name].mkdir()
        (folders[name] / "model.bin").write_bytes(b"half")
    old(folders[".new.killed"], 2)
    corpora = tmp_path / "cache/corpora"
    for name in (".mine.live", ".mine.killed", ".mine.old.x"):
        folders[name] = corpora / name
        (folders[name] / "mine").mkdir(parents=True)
        (folders[name] / "mine/a.wav").write_bytes(b"half")
    old(folders[".mine.killed"], 2)
    runs = {name: cache.root / ".cluster" / name for name in ("live", "killed")}
    for folder in runs.values():
        folder.mkdir(parents=True)
        (folder / "shard").write_bytes(b"start")
    old(runs["killed"], 8)

    cache.put("x", "cd" * 32, {"a": np.zeros(3)}, {})
    with staging():
        pass
    (tmp_path / "from").mkdir()
    (tmp_path / "from/a.wav").write_bytes(b"sound")
    get_corpus("mine", CorpusParams(loader="folder"), tmp_path / "from")
    with _run_folder(cache.root, "mine"):
        pass
    live.append("a", np.zeros(3, np.uint8))
    live.commit()
    assert cache.get("x", "ab" * 32) is not None
    kept = {path.name for path in (*shelf().iterdir(), *corpora.iterdir())}
    assert kept == {".new.live", ".mine.live", ".mine.old.x", "mine"}
    assert not killed.exists()
    assert [path.name for path in (cache.root / ".cluster").iterdir()] == ["live"]
    record("clock", "a host whose clock is wrong", jump_s=jump, live_files_removed=0)


_JUMPING = '''
"""Python's wall clock jumps by years, five times a second, in every process of a run."""
import time

_now, _steady = time.time, time.monotonic
_YEARS = (0, 5, -9, 0, 1, -30)
time.time = lambda: _now() + 31_557_600.0 * _YEARS[int(_steady() * 5) % len(_YEARS)]
time.time_ns = lambda: int(time.time() * 1e9)
'''


@pytest.mark.parametrize(
    "stage", [("embed", "studio", "mel", "grand"), *STAGES[:4], *STAGES[10:13]][: scale(1, 8)],
    ids="-".join,
)  # fmt: skip
def test_a_clock_that_jumps_by_years_changes_nothing(
    finished: Finished, tmp_path: Path, stage: tuple[str, ...]
) -> None:
    """libfaketime cannot serve: under it, ``time.sleep`` of Python 3.11 fails on the way back."""
    place = finished.copy(tmp_path)
    forget(place, stage)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(_JUMPING)
    environment = place.environment()
    environment["PYTHONPATH"] = f"{tmp_path / 'site'}{os.pathsep}{environment['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]], cwd=place.workspace,
        env=environment, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert outputs(place, stage) == outputs(finished, stage)
    assert leftovers(place.workspace, place.cache) == []
    record("clock", f"jumps by years during {stage[0]}", hangs=0, same_bytes="yes")


# Leftovers -------------------------------------------------------------------------------------


def test_a_corpus_that_was_being_replaced_when_its_process_was_killed_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "from").mkdir()
    (tmp_path / "from/a.wav").write_bytes(b"sound")
    params = CorpusParams(loader="folder")
    target = get_corpus("mine", params, tmp_path / "from")
    aside = target.parent / ".mine.old.x"
    aside.mkdir()
    target.rename(aside / "mine")
    with pytest.raises(PianoevalError):
        get_corpus("mine", params, tmp_path / "nowhere")
    (tmp_path / "none").mkdir()
    with pytest.raises(PianoevalError, match="no recordings"):
        get_corpus("mine", params, tmp_path / "none")
    assert (target / "a.wav").read_bytes() == b"sound"
