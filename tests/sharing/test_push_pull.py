"""Items go to a folder, to S3 and to a server over ssh, and come back as they were."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from levels import FULL, record, scale
from sharing_cases import (
    CLI,
    STEP,
    command,
    environment,
    files,
    fill,
    items_there,
    key_of_number,
    remote_workspace,
)

from pianoeval.cache import ItemCache
from pianoeval.errors import PianoevalError
from pianoeval.itemread import read_item
from pianoeval.sharing.items import ItemFile, items_of
from pianoeval.sharing.place import Place, open_place
from pianoeval.sharing.transfer import pull, push


def put_there(place: Place, path: Path, number: int, data: bytes) -> None:
    """Any bytes under the name of an item, by the place's own transport."""
    path.write_bytes(data)
    place.store(ItemFile(STEP, key_of_number(number), path, len(data), 0.0))


def test_what_is_pushed_is_pulled_byte_for_byte_and_only_once(
    workspace: Path, tmp_path: Path
) -> None:
    here, there = fill(tmp_path / "a", 12), ItemCache(tmp_path / "b")
    fill(tmp_path / "a", 3, "audio")
    place = open_place(None, create=True)
    pushed = push(here, place)
    size = sum(len(data) for data in files(tmp_path / "a").values())
    assert (pushed.transferred, pushed.there, pushed.bytes) == (15, 0, size)
    again = push(here, open_place("lab", create=True))
    assert (again.transferred, again.there, again.bytes) == (0, 15, 0)
    first = pull(there, open_place("lab", create=False), steps=["audio"])
    assert (first.transferred, first.there) == (3, 0)
    rest = pull(there, open_place(None, create=False), jobs=2)
    assert (rest.transferred, rest.there, first.bytes + rest.bytes) == (12, 3, size)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    fill(tmp_path / "a", 1, first=20)
    one = key_of_number(20)
    assert push(here, open_place(None, create=True), only={one}).transferred == 1
    assert pull(there, open_place(None, create=False), only={one}).transferred == 1


def test_what_is_wrong_there_is_named_and_the_others_come(workspace: Path, tmp_path: Path) -> None:
    here = fill(tmp_path / "a", 8)
    place = open_place(None, create=True)
    push(here, place)
    clean = [here.path(STEP, key_of_number(n)).read_bytes() for n in range(8)]
    flipped = bytearray(clean[0])
    flipped[-5] ^= 1
    put_there(place, tmp_path / "x", 0, bytes(flipped))
    put_there(place, tmp_path / "x", 1, clean[1][:-1])
    put_there(place, tmp_path / "x", 2, b"")
    put_there(place, tmp_path / "x", 3, clean[5])  # renamed: a whole item, but another
    put_there(place, tmp_path / "x", 9, clean[4])  # under a name that nobody has
    there = ItemCache(tmp_path / "b")
    report = pull(there, open_place(None, create=False))
    wrong = {0, 1, 2, 3, 9}
    assert set(report.refused) == {f"{STEP}/{key_of_number(n)}" for n in wrong}
    assert report.transferred == 4
    assert "holds another item" in report.refused[f"{STEP}/{key_of_number(3)}"]
    assert items_there(tmp_path / "b") == {key_of_number(n) for n in (4, 5, 6, 7)}
    assert not [name for name in files(tmp_path / "b") if "unfinished" in name]
    record("sharing", f"pull refuses damaged items ({place.shown})", spoilt=5, refused=5)

    # Sizes tell of two of them; reading what is there, of all that the pusher has.
    assert push(here, open_place(None, create=True)).transferred == 2
    mended = push(here, open_place(None, create=True), check=True)
    assert (mended.transferred, mended.there) == (2, 6)
    assert pull(there, open_place(None, create=False)).transferred == 4


def test_a_damaged_item_is_not_pushed(workspace: Path, tmp_path: Path) -> None:
    here = fill(tmp_path / "a", 4)
    path = here.path(STEP, key_of_number(1))
    data = bytearray(path.read_bytes())
    data[-1] ^= 8
    path.write_bytes(data)
    shutil.copyfile(here.path(STEP, key_of_number(2)), here.path(STEP, key_of_number(3)))
    report = push(here, open_place(None, create=True))
    assert set(report.refused) == {f"{STEP}/{key_of_number(n)}" for n in (1, 3)}
    assert report.transferred == 2
    assert set(open_place(None, create=False).sizes(STEP)) == {
        key_of_number(0), key_of_number(2)
    }  # fmt: skip
    assert path.exists()  # pushing removes nothing


def test_an_item_of_another_maker_is_not_replaced(tmp_path: Path) -> None:
    """The same key from another machine: its header has another length."""
    caches = ItemCache(tmp_path / "a"), ItemCache(tmp_path / "b")
    layout = {"x": ((3,), np.dtype("<f4"))}
    for cache, machine in zip(caches, ("x86_64", "another kind of processor"), strict=True):
        origin = {"machine": machine}
        with cache.writer(STEP, key_of_number(0), layout, {}, origin) as writer:
            writer.append("x", np.ones(3, np.float32))
            writer.commit()
    place = open_place(f"{tmp_path}/share", create=True)
    assert push(caches[0], place).transferred == 1
    before = files(tmp_path / "share")
    report = push(caches[1], place)
    assert (report.transferred, report.there) == (0, 1)
    assert files(tmp_path / "share") == before


def test_an_empty_place_and_an_unknown_step(workspace: Path, tmp_path: Path) -> None:
    cache = ItemCache(tmp_path / "b")
    assert open_place(None, create=True).steps() == []
    with pytest.raises(PianoevalError, match="no items of step 'audio'"):
        pull(cache, open_place("lab", create=True), steps=["audio"])


def test_the_command_counts_bytes_and_exits_1_at_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = remote_workspace(tmp_path / "w", {"url": str(tmp_path / "there")})
    monkeypatch.chdir(workspace)
    cache = fill(tmp_path / "a" / "items", 3)
    done = command(workspace, tmp_path / "a", "push", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["pushed"], found["there"]) == (3, 0)
    assert found["bytes"] == sum(item.size for item in items_of(cache.root, STEP))
    put_there(open_place(None, create=True), tmp_path / "x", 1, b"nothing")
    done = command(workspace, tmp_path / "b", "pull", "lab")
    assert done.returncode == 1
    assert "2 items pulled" in done.stdout
    assert f"{STEP}/{key_of_number(1)}: damaged there, refused" in done.stdout
    assert "next: pianoeval cache push lab --check" in done.stdout


def test_used_items_are_those_that_stores_name(tmp_path: Path) -> None:
    from sharing_cases import make_store

    workspace = remote_workspace(tmp_path / "w", {"url": str(tmp_path / "there")})
    cache = fill(tmp_path / "a" / "items", 6)
    make_store(workspace / "data" / "c" / "embeddings" / "mel" / "grand.zarr", cache, 2)
    assert json.loads(command(workspace, tmp_path / "a", "push", "--used", "--json").stdout)[
        "pushed"
    ] == 2  # fmt: skip
    done = command(workspace, tmp_path / "b", "pull", "--used", "--json")
    assert json.loads(done.stdout)["pulled"] == 2
    assert items_there(tmp_path / "b") == {key_of_number(0), key_of_number(1)}


HANGS = """
    import sys, time
    from pathlib import Path
    from pianoeval.sharing import place
    from pianoeval import cli

    wanted = sys.argv.pop(1)

    def slow(self, step, key, to, fetch=place.FolderPlace.fetch):
        if key == wanted:
            to.write_bytes(self.cache.path(step, key).read_bytes()[:99])
            print("here", flush=True)
            time.sleep(600)
        fetch(self, step, key, to)

    place.FolderPlace.fetch = slow
    cli.main()
"""


def halted(tmp_path: Path, number: int, jobs: str) -> subprocess.Popen[str]:
    """A pull that has written a part of an item and waits."""
    workspace = remote_workspace(tmp_path / "w", {"url": str(tmp_path / "there")})
    fill(tmp_path / "there" / "pianoeval-items", 9)
    keys = sorted(key_of_number(n) for n in range(9))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HANGS), keys[number], "cache", "pull",
         "--jobs", jobs], cwd=workspace, env=environment(tmp_path / "b"),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def test_a_killed_pull_is_continued(tmp_path: Path) -> None:
    process = halted(tmp_path, 4, "1")
    process.kill()
    process.communicate()
    before = items_there(tmp_path / "b")
    assert len(before) == 4
    [left] = (tmp_path / "b" / "items" / STEP / "unfinished").iterdir()
    assert left.stat().st_size == 99
    done = command(tmp_path / "w", tmp_path / "b", "pull", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["pulled"], found["there"]) == (5, 4)
    for item in items_of(tmp_path / "b" / "items", STEP):
        read_item(item.path, item.name)
    record("sharing", "pull killed with SIGKILL and continued", items=9, before=4, after=5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT] if FULL else [signal.SIGTERM])
def test_a_pull_that_is_told_to_end_leaves_nothing_partial(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = halted(tmp_path, 2, "3")
    began = time.monotonic()
    process.send_signal(number)
    process.communicate()
    seconds = time.monotonic() - began
    record("sharing", f"pull told to end ({number.name})", exit_s=round(seconds, 2))
    assert seconds < 20  # of a busy machine; the hanging thread would take ten minutes
    assert process.returncode == 128 + number
    assert list((tmp_path / "b" / "items" / STEP / "unfinished").iterdir()) == []


def in_parallel(start: Callable[[int], subprocess.Popen[str]], count: int) -> list[str]:
    running = [start(number) for number in range(count)]
    answers = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * count
    return answers


def test_two_at_once_are_harmless(tmp_path: Path) -> None:
    workspace = remote_workspace(tmp_path / "w", {"url": str(tmp_path / "there")})
    count = scale(12, 300)
    fill(tmp_path / "a" / "items", count)

    def start(what: str, cache: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CLI, "cache", what, "--json"], cwd=workspace,
            env=environment(cache), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    in_parallel(lambda number: start("push", tmp_path / "a"), 2)
    assert len(items_there(tmp_path / "there")) == count
    in_parallel(lambda number: start("pull", tmp_path / "b"), 2)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    shared = {n for n in files(tmp_path / "there") if "unfinished" not in n}
    assert len(shared) == len(files(tmp_path / "there")) == count


def test_a_folder_can_be_written_by_lab_mates(tmp_path: Path) -> None:
    fill(tmp_path / "a", 1)
    before = os.umask(0o077)
    try:
        push(ItemCache(tmp_path / "a"), open_place(f"{tmp_path}/share", create=True))
    finally:
        os.umask(before)
    [path] = (tmp_path / "share").rglob("*.safetensors")
    assert path.stat().st_mode & 0o777 == 0o664
    assert path.parent.stat().st_mode & 0o2070 == 0o2070


@pytest.mark.parametrize(
    ("name", "message"),
    [("nosuch", r"neither a DVC remote nor a folder \(allowed: a remote \(lab\)"),
     ("none://x", "Unsupported URL"), ("https://example.org/x", "cannot be listed"),
     (None, "s3|cannot be reached")],
)  # fmt: skip
def test_a_place_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, message: str
) -> None:
    pytest.importorskip("s3fs")
    nobody = {"url": "s3://lab/x", "endpointurl": "http://127.0.0.1:9", "access_key_id": "k",
              "secret_access_key": "s", "connect_timeout": "1"}  # fmt: skip
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.chdir(remote_workspace(tmp_path / "w", nobody))
    with pytest.raises(PianoevalError, match=message):
        open_place(name, create=True).steps()


def test_without_a_remote_or_its_package_the_next_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path / "w")
    with pytest.raises(PianoevalError, match="no default remote"):
        open_place(None, create=True)
    # As on a machine where the extra was not installed.
    script = """
        import sys
        sys.modules["{module}"] = None
        from pianoeval.errors import PianoevalError
        from pianoeval.sharing.place import open_place
        try:
            open_place("{url}", create=True).steps()
        except PianoevalError as error:
            print(error)
    """
    for url, module, wanted in (
        ("s3://lab/x", "s3fs", "pip install 'pianoeval[s3]'"),
        ("s3://lab/x", "dvc_s3", "pip install 'pianoeval[s3]'"),
        ("ssh://nobody@localhost/x", "sshfs", "pip install 'pianoeval[ssh]'"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script).format(url=url, module=module)],
            env=environment(tmp_path), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert wanted in done.stdout, done.stdout + done.stderr
