"""One file system, two people: real users with umasks of their own, as root can make them.

They live in a mount namespace, where ``/etc/passwd`` and ``/etc/group`` name them and where the
interpreter can be reached if it lies in a home that is closed to others.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from finished import STAGES
from lab_cases import Clone, Lab, commands, git, lab_params, stages_run
from levels import FULL, record
from workspaces import write_params

GROUP, USERS = 61_000, {"anna": 61_001, "ben": 61_002}
CACHED = " 0 computed (0.0 min of audio in 0 s), 18 from the cache"


@dataclass(frozen=True)
class Member:
    """A user with a clone; ``umask`` as their shell sets it."""

    name: str
    umask: str
    home: Path
    opened: str  # what makes the namespace
    environment: dict[str, str]

    def shell(self, script: str) -> str:
        uid = USERS[self.name]
        user = f"umask {self.umask}; exec setpriv --reuid {uid} --regid {uid} --groups {GROUP}"
        line = f'{self.opened}\n{user} bash -euc "$0"'
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-euc", line, script],
            cwd=self.home / "work", env=self.environment | {"HOME": str(self.home)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def namespace(folder: Path) -> str:
    """Shell lines that name the users and open homes on the way to the interpreter."""
    lines = []
    entries = {
        "passwd": [f"{n}:x:{u}:{u}::{folder}/{n}:/bin/sh" for n, u in USERS.items()],
        "group": [f"lab:x:{GROUP}:{','.join(USERS)}"],
    }
    for name, added in entries.items():
        text = Path(f"/etc/{name}").read_text(encoding="utf-8") + "\n".join(added) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
        lines.append(f"mount --bind {folder / name} /etc/{name}")
    for number, python in enumerate({Path(sys.executable), Path(sys.executable).resolve()}):
        closed = [f for f in python.parents if not f.stat().st_mode & 0o001]
        if closed:
            top = closed[-1]
            inside = python.relative_to(top).parts[0]
            kept = folder / f"kept{number}"
            kept.mkdir()
            lines += [
                f"mount --bind {top} {kept}", f"mount -t tmpfs -o mode=755 none {top}",
                f"mkdir {top / inside}", f"mount --bind {kept / inside} {top / inside}",
            ]  # fmt: skip
    return "\n".join(lines)


@pytest.fixture(scope="module")
def members(lab: Lab) -> Iterator[tuple[Path, Member, Member]]:
    """A shared folder as the document makes it, and two users, each with a clone."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("two users can be made by root only")
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("util-linux is not here")
    # pytest's own folders are closed to other users.
    top = Path(tempfile.mkdtemp(prefix="pianoeval-lab-"))
    try:
        top.chmod(0o755)
        opened = namespace(top)
        probe = f'{opened}\nexec setpriv --reuid {GROUP} --regid {GROUP} --clear-groups "$0" -c ""'
        tried = subprocess.run(
            ["unshare", "--mount", "bash", "-euc", probe, sys.executable],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if tried.returncode != 0:
            pytest.skip(f"no second user here: {tried.stderr.strip()[-200:]}")
        shared = top / "shared"
        script = commands("make", SHARED=shared)
        subprocess.run(["unshare", "--mount", "bash", "-euc", f"{opened}\n{script}"], check=True)
        (shared / "items" / "assets").symlink_to((lab.origin.items / "assets").resolve())
        found = []
        for name, umask in (("anna", "077"), ("ben", "022")):
            home = top / name
            home.mkdir()
            git(home, "clone", "--quiet", lab.repository, "work")
            subprocess.run(["chown", "-R", str(USERS[name]), home], check=True)
            environment = lab.origin.environment() | {
                "PIANOEVAL_CACHE": str(shared / "items"), "PYTHONDONTWRITEBYTECODE": "1",
            }  # fmt: skip
            found.append(Member(name, umask, home, opened, environment))
        # Anna's first pull is what fills the shared cache.
        subprocess.run(["chmod", "-R", "a+rX", lab.remote], check=True)
        for folder in (lab.remote, *lab.remote.parents):
            if folder == Path(tempfile.gettempdir()):
                break
            folder.chmod(folder.stat().st_mode | 0o011)
        yield shared, found[0], found[1]
    finally:
        shutil.rmtree(top, ignore_errors=True)


def use(shared: Path) -> str:
    return commands("use", SHARED=shared)


def check_modes(shared: Path) -> int:
    """Everything can be read by the group, folders be written; the number of files."""
    files = 0
    for path in shared.rglob("*"):
        if path.is_symlink():
            continue
        status = path.stat()
        if path.is_dir():
            assert status.st_mode & 0o2770 == 0o2770, path
            assert status.st_gid == GROUP, path
        else:
            files += 1
            assert status.st_mode & 0o040 or status.st_mode & 0o004, path
            if path.suffix == ".safetensors":
                assert (status.st_mode & 0o777, status.st_gid) == (0o664, GROUP), path
            if "files" in path.relative_to(shared).parts:
                assert not status.st_mode & 0o222, f"{path} can be written"
    return files


def damaged(cache: Path) -> list[Path]:
    """Objects of a DVC cache that are not what their name says."""
    found = []
    for path in (cache / "files" / "md5").rglob("*"):
        if path.is_file():
            name = path.parent.name + path.name.removesuffix(".dir")
            if hashlib.md5(path.read_bytes()).hexdigest() != name:
                found.append(path)
    return found


def test_two_users_share_both_caches(members: tuple[Path, Member, Member]) -> None:
    shared, anna, ben = members
    said = anna.shell(use(shared).replace("dvc checkout", "dvc pull"))
    assert stages_run(said) == set()
    said = ben.shell(use(shared))
    assert stages_run(said) == set(), "all of it was there"
    data = [path for path in (ben.home / "work" / "data").rglob("*") if not path.is_dir()]
    assert all(path.is_symlink() or path.stat().st_nlink > 1 for path in data), "copied"

    made = anna.shell("python -m stages.render studio grand")
    assert " 18 computed" in made
    assert CACHED in ben.shell("python -m stages.render studio grand")
    # Ben adds, below a folder of his own among Anna's; she uses it.
    ben.shell('rm -r "$(find $PIANOEVAL_CACHE/items/audio/* -type d | sort | head -1)"')
    assert "0 computed" not in ben.shell("python -m stages.render studio grand")
    assert CACHED in anna.shell("python -m stages.render studio grand")
    if FULL:
        ben.shell("sed -i 's/^  - std$//' params.yaml; dvc repro pool@studio-mel-grand")
        said = anna.shell("sed -i 's/^  - std$//' params.yaml; dvc repro pool@studio-mel-grand")
        assert stages_run(said) == set(), "Ben has made it"
    files = check_modes(shared)
    assert damaged(shared / "dvc") == []
    record("sharing", "two users, umask 077 and 022, one file system", stages_run=0, files=files,
           unreadable=0, damaged=0)  # fmt: skip


def test_a_stage_by_hand_does_not_write_into_the_shared_cache(lab: Lab, tmp_path: Path) -> None:
    """Every output is a hard link into the cache; root could write through all of them."""
    member = Clone(tmp_path / "work", lab.origin.items)
    git(tmp_path, "clone", "--quiet", lab.repository, "work")
    member.shell(
        f"dvc cache dir --local {tmp_path / 'dvc'}; dvc config --local cache.type hardlink"
        "; dvc pull --quiet"
    )
    outputs = [path for path in (member.folder / "data").rglob("*") if path.is_file()]
    assert all(path.stat().st_nlink > 1 for path in outputs)
    # Other bytes in every output from here on.
    data = lab_params()
    data["corpora"]["studio"]["seed"] += 1
    data["folds"]["seed"] += 1
    write_params(member.folder, data)
    short = ("fetch", "ingest", "degrade", "symbolic", "folds", "audit")
    calls = STAGES if FULL else [call for call in STAGES if call[0] in short]
    before = {path: path.read_bytes() for path in outputs}
    code = "import importlib\n" + "".join(
        f"importlib.import_module('stages.{name}').main(*{tuple(rest)!r})\n"
        for name, *rest in calls
    )
    member.shell(f"python -c {shlex.quote(code)}")
    changed = [p for p, data in before.items() if not p.exists() or p.read_bytes() != data]
    assert len(changed) > 10, "nothing was written"
    assert damaged(tmp_path / "dvc") == []
    record("sharing", "stages by hand over hard links", stages=len(calls), damaged=0)
