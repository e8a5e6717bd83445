"""``pianoeval doctor`` on shared caches: every trouble by name, with what mends it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from workspaces import make_workspace

from pianoeval.doctor import Finding, examine
from pianoeval.groupfolders import dvc_cache_troubles


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose caches are the folders ``shared/dvc`` and ``shared/items``, all well."""
    made = make_workspace(tmp_path / "workspace")
    (made / ".dvc").mkdir()
    for name in ("dvc", "items/items/audio/3b"):
        (tmp_path / "shared" / name).mkdir(parents=True)
    for folder in [path for path in (tmp_path / "shared").rglob("*") if path.is_dir()]:
        folder.chmod(0o2775)
    monkeypatch.chdir(made)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "shared" / "items"))
    configure(made, dir=str(tmp_path / "shared" / "dvc"), shared="group", type="hardlink,symlink")
    return made


def configure(workspace: Path, **values: str) -> None:
    lines = [f"    {key} = {value}\n" for key, value in values.items()]
    (workspace / ".dvc" / "config.local").write_text("[cache]\n" + "".join(lines), encoding="utf-8")


def sharing() -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in examine():
        if finding.name.startswith("shared"):
            found.setdefault(finding.name, []).append(finding)
    return found


def test_good_caches_are_good(workspace: Path) -> None:
    found = sharing()
    assert set(found) == {"shared items", "shared outputs"}
    assert all(one.good for findings in found.values() for one in findings)


def test_own_caches_are_nobodys_business(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / ".dvc" / "config.local").unlink()
    (tmp_path / "own" / "items").mkdir(parents=True)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "own"))
    assert sharing() == {}


def test_each_trouble_has_its_command(workspace: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "items" / "items" / "audio" / "3b").chmod(0o755)
    configure(workspace, dir=str(shared / "dvc"), type="copy")
    found = sharing()
    [closed] = found["shared items"]
    assert not closed.good
    assert closed.detail.endswith("audio/3b")
    fixes = {one.fix for one in found["shared outputs"]}
    assert fixes == {
        "dvc config --local cache.shared group",
        "dvc config --local cache.type hardlink,symlink && dvc checkout --relink",
    }
    # What it prints mends it.
    subprocess.run(["bash", "-c", closed.fix], check=True, env=os.environ | {"USER": user_name()})
    assert [one.good for one in sharing()["shared items"]] == [True]


def user_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another group")
def test_a_folder_of_another_group_is_named(workspace: Path, tmp_path: Path) -> None:
    audio = tmp_path / "shared" / "items" / "items" / "audio"
    os.chown(audio, -1, 61_000)
    audio.chmod(0o2775)
    assert any("of another group" in one.detail for one in sharing()["shared items"])


def test_another_file_system_needs_symbolic_links(workspace: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == workspace.stat().st_dev:
        pytest.skip("no second file system here")
    troubles = dvc_cache_troubles(workspace, other, "group", ["reflink", "hardlink", "copy"])
    assert any("another file system" in trouble.what for trouble in troubles)
    fine = dvc_cache_troubles(workspace, other, "group", ["hardlink", "symlink"])
    assert not any("file system" in trouble.what for trouble in fine)
