"""What ``make`` installs: everything that is declared, each file by its hash, torch by version."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tomllib

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from workspaces import ROOT

LOCK = ROOT / "requirements"
_OWN = "pianoeval"


def read_lock() -> dict[str, list[tuple[Requirement, list[str]]]]:
    """Requirements by canonical name, with their hashes; markers may split one into several."""
    text = (LOCK / "locked.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[tuple[Requirement, list[str]]]] = {}
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            wanted, *hashes = line.split("--hash=")
            requirement = Requirement(wanted.strip())
            digests = [one.strip() for one in hashes]
            found.setdefault(canonicalize_name(requirement.name), []).append((requirement, digests))
    return found


def declared() -> list[Requirement]:
    """Dependencies of pyproject.toml and of the extra ``test``, with the extras it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    waiting, found = [*project["dependencies"], *extras["test"]], []
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name == _OWN:
            waiting += [text for extra in requirement.extras for text in extras[extra]]
        else:
            found.append(requirement)
    return found


def torch_pin() -> Requirement:
    lines = (LOCK / "torch.txt").read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if not line.startswith("#")]
    return Requirement(line)


def version_of(requirement: Requirement) -> str:
    [specifier] = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


def test_every_declared_package_is_locked_within_its_range() -> None:
    lock = {name: rows[0][0] for name, rows in read_lock().items()} | {"torch": torch_pin()}
    wanted = [*declared(), Requirement("tinysoundfont")]
    assert len(wanted) > 40
    for requirement in wanted:
        locked = lock[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version_of(locked)), requirement


def test_all_but_torch_are_locked_by_hash() -> None:
    lock = read_lock()
    for name, rows in lock.items():
        for requirement, hashes in rows:
            assert hashes, name
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes)
            version_of(requirement)
    left_out = {
        canonicalize_name(line)
        for line in (LOCK / "left-out.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    }
    assert not left_out & set(lock)
    assert "torch" not in lock
    brought = [name for name in lock if name.startswith(("nvidia-", "cuda-"))]
    assert brought == []  # name what is new in left-out.txt


def test_no_index_is_named() -> None:
    """pip's own configuration says where packages come from."""
    for path in LOCK.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path
        assert "--index-url" not in text
        assert "--find-links" not in text


def test_the_lock_is_complete() -> None:
    """pip resolves nothing, so what locked packages need must be locked: by their metadata."""
    lock = read_lock()
    left_out = (LOCK / "left-out.txt").read_text(encoding="utf-8").split()
    environment = {str(key): str(value) for key, value in default_environment().items()}
    checked = 0
    for name in lock:
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or Python
        for text in needs:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate(environment | {"extra": ""}):
                canonical = canonicalize_name(need.name)
                assert canonical in {*lock, "torch", *left_out}, f"{name} needs {text}"
                checked += 1
    assert checked > 200


def test_what_is_installed_is_what_is_locked() -> None:
    """Here, after ``make``; elsewhere packages may be of other versions."""
    if not (ROOT / ".venv" / ".ready").exists():
        pytest.skip("this environment was not made by make")
    older = (ROOT / ".venv" / ".ready").stat().st_mtime < (LOCK / "locked.txt").stat().st_mtime
    if older:
        pytest.skip("the lock is newer than this environment: make setup")
    environment = {str(key): str(value) for key, value in default_environment().items()}
    for rows in read_lock().values():
        for requirement, _ in rows:
            if requirement.marker is None or requirement.marker.evaluate(environment):
                installed = importlib.metadata.version(requirement.name)
                assert requirement.specifier.contains(installed, prereleases=True), requirement
    found = importlib.metadata.version("torch").partition("+")[0]  # a build has its own suffix
    assert found == version_of(torch_pin())


def test_make_installs_the_lock() -> None:
    """The recipe as make would run it: hashes are required, nothing is resolved."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "--require-hashes --no-deps -r requirements/locked.txt" in done.stdout
    assert "-r requirements/torch.txt" in done.stdout
    assert "--no-deps --no-build-isolation -e ." in done.stdout
