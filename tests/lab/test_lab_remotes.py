"""Through a remote: what others computed is not computed again, and little of it moves."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab_cases import (
    HEADS,
    PROBES,
    RANKS,
    STAGES,
    Clone,
    Lab,
    commands,
    member_of,
    publish,
    size_bytes,
    stages_run,
)
from levels import FULL, record


def join(member: Clone, repository: Path) -> tuple[Clone, str]:
    """Block ``join`` of the document; the member in their clone, and what was said."""
    said = member.shell(commands("join", REPOSITORY=repository))
    return Clone(member.folder / "pianoeval", member.items, member.variables), said


def moved_bytes(clone: Clone, remote: Path) -> int:
    """Size of what a clone's DVC cache has of the remote's objects."""
    cache = clone.folder / ".dvc" / "cache" / "files"
    objects = [path for path in cache.rglob("*") if path.is_file()]
    there = remote / "files"
    return sum(p.stat().st_size for p in objects if (there / p.relative_to(cache)).exists())


def test_a_clone_that_pulls_computes_nothing(lab: Lab, tmp_path: Path) -> None:
    clone, said = join(member_of(tmp_path / "ben"), lab.repository)
    assert stages_run(said) == set()
    assert said.count("didn't change, skipping") == len(STAGES)
    assert clone.n_items() == 0
    assert clone.lock == lab.origin.lock
    pages = [folder / "reports" / "index.html" for folder in (clone.folder, lab.origin.folder)]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert clone.run("git", "status", "--porcelain") == ""
    record("sharing", "clone, pull, repro", stages_run=0, items_computed=0,
           pulled_bytes=size_bytes(clone.folder / ".dvc" / "cache"))  # fmt: skip


@pytest.mark.skipif(not FULL, reason="make faults: DVC's own work, more than ours")
def test_a_run_that_is_in_no_lock_file_is_taken_from_the_run_cache(
    lab: Lab, tmp_path: Path
) -> None:
    """``dvc.lock`` is lost; the run cache knows what the same inputs gave."""
    member = member_of(tmp_path / "ben")
    member.run("git", "clone", "--quiet", str(lab.repository), "pianoeval")
    clone = Clone(member.folder / "pianoeval", member.items)
    lock = yaml.safe_load(clone.lock)
    del lock["stages"]["pool@studio-mel-grand"]
    (clone.folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    said = clone.run("dvc", "repro", "--pull")
    assert "is cached - skipping run" in said
    assert stages_run(said) == set()
    assert clone.n_items() == 0
    assert yaml.safe_load(clone.lock) == yaml.safe_load(lab.origin.lock)


AS_WRITTEN = "probe.ridge.inner_folds=3"


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ("views.mel.mel.models=[ridge,extra_trees]", {"probe@studio-mel", "fuse@studio", *RANKS}),
        pytest.param(
            AS_WRITTEN, {"audit@studio", "fuse@studio", *PROBES, *RANKS},
            marks=pytest.mark.skipif(not FULL, reason="make faults: twice as long"),
        ),
    ],
)  # fmt: skip
def test_an_ablation_runs_what_is_below_it_and_moves_what_that_reads(
    lab: Lab, tmp_path: Path, change: str, stages: set[str]
) -> None:
    """Two members without any data, at once, with one item cache; then the same bytes."""
    first = member_of(tmp_path / "anna")
    second = Clone(tmp_path / "ben", first.items)
    second.folder.mkdir()
    written = commands("try", REPOSITORY=lab.repository)
    assert AS_WRITTEN in written
    script = written.replace(AS_WRITTEN, f"'{change}'")
    started = [one.start("bash", "-euo", "pipefail", "-c", script) for one in (first, second)]
    said = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    clones = [Clone(one.folder / "pianoeval", one.items) for one in (first, second)]
    for text in said:
        expected = {*stages, "evaluate@studio", "report"}
        assert stages_run(text) - {"examples@studio"} == expected
    assert clones[0].lock == clones[1].lock != lab.origin.lock
    for name in ("results.csv", "comparisons.csv", "diagnostics.json", "summary.json"):
        files = [clone.folder / "reports" / "studio" / name for clone in clones]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    steps = {p.name for p in (first.items / "items").iterdir()}
    assert steps == {"probe", "rank"}, "a clip was encoded"
    all_bytes, moved = size_bytes(lab.remote), moved_bytes(clones[0], lab.remote)
    # If the best and worst clips are others now, the page plays them: the audio came as well.
    audio = size_bytes(clones[0].folder / "data" / "studio" / "audio")
    assert (audio > 0) == ("examples@studio" in stages_run(said[0]))
    assert moved - audio < 0.2 * all_bytes
    assert not list((clones[0].folder / "data" / "studio" / "embeddings").rglob("*.zarr"))
    if FULL:  # what the others would see: nothing is left to run, with all data or without
        again = clones[0].run("dvc", "repro", "--allow-missing")
        assert stages_run(again) == set()
    record("sharing", f"-S {change} in two empty clones at once", stages=len(stages_run(said[0])),
           moved_bytes=moved, audio_bytes=audio, remote_bytes=all_bytes)  # fmt: skip


@pytest.mark.skipif(not FULL, reason="make faults: each takes as long as the one above")
@pytest.mark.parametrize(
    ("change", "stages"),
    [
        (
            "folds.n_folds=5",
            {
                "folds@studio", "audit@studio", "fuse@studio", *PROBES, *RANKS, *HEADS,
                "evaluate@studio",
            },
        ),
        (
            "evaluate.n_bootstrap=150",
            {"evaluate_rank@studio", "evaluate_contrast@studio", "evaluate@studio"},
        ),
        ("contrast.heads.contrastive.epochs=4", HEADS),
        ("report.audio=never", {"examples@studio"}),
        (
            "axes.features=[symbolic]",
            {"fuse@studio", *RANKS, "contrast@studio", "evaluate@studio"},
        ),
    ],
)  # fmt: skip
def test_every_cheap_change_works_in_an_empty_clone(
    lab: Lab, tmp_path: Path, change: str, stages: set[str]
) -> None:
    member = member_of(tmp_path / "anna")
    member.run("git", "clone", "--quiet", str(lab.repository), "pianoeval")
    clone = Clone(member.folder / "pianoeval", member.items)
    said = clone.run("dvc", "exp", "run", "--pull", "--allow-missing", "-S", change)
    assert stages_run(said) - {"examples@studio"} == (stages | {"report"}) - {"examples@studio"}
    # The same in a workspace that has everything: what was brought is all that was missing.
    full, _ = join(member_of(tmp_path / "ben"), lab.repository)
    full.run("dvc", "exp", "run", "-S", change)
    assert full.lock == clone.lock
    record("sharing", f"-S {change} in an empty clone", stages=len(stages_run(said)),
           moved_bytes=moved_bytes(clone, lab.remote))  # fmt: skip


# ssh and S3 ------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """URL of a folder on a server of our own, and the variables of who may log in."""
    pytest.importorskip("dvc_ssh", reason="pip install 'dvc[ssh]'")
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(server).is_file() or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd here (Debian: openssh-server)")
    home, port = tmp_path / "home", free_port()
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for key in (home / "host", home / ".ssh" / "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (home / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nPidFile none\n"
        f"AuthorizedKeysFile {home}/.ssh/id_ed25519.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nSubsystem sftp internal-sftp\n",
        encoding="utf-8",
    )
    log = home / "log"
    process = subprocess.Popen([server, "-D", "-f", home / "config", "-E", log])
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"sshd does not start here: {log.read_text(encoding='utf-8')}")
            time.sleep(0.05)
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path / 'remote'}"
        yield url, {"HOME": str(home), "SSH_AUTH_SOCK": ""}
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, str]]]:
    """URL of a bucket of a server of our own, and the variables of who may use it."""
    pytest.importorskip("dvc_s3", reason="pip install 'dvc[s3]'")
    moto = pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
    server = moto.ThreadedMotoServer(port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        import boto3

        boto3.client("s3").create_bucket(Bucket="lab")
        yield "s3://lab/pianoeval", variables
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["ssh", "s3"])
def test_results_are_shared_through_a_server(
    lab: Lab, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    url, variables = request.getfixturevalue(kind)
    repository = publish(lab.origin, tmp_path / "repository.git", url, variables)
    clone, said = join(member_of(tmp_path / "ben", variables), repository)
    assert stages_run(said) == set()
    assert clone.n_items() == 0
    assert clone.lock == lab.origin.lock
    record("sharing", f"clone, pull, repro through {kind}", stages_run=0, items_computed=0)
