"""Real places: a folder, S3 served on this machine, a server that is reached over ssh."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sharing_cases import remote_workspace


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """URL of an empty S3 with the bucket ``items``."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    s3fs = pytest.importorskip("s3fs", reason="pip install 'pianoeval[s3]'")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    s3fs.S3FileSystem(key="k", secret="s", endpoint_url=address).mkdir(
        "items"
    )  # servers of moto share one memory: no name of another test
    yield address
    server.stop()


@pytest.fixture(scope="session")
def ssh_options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Options of a DVC remote on an ssh server of this machine."""
    pytest.importorskip("sshfs", reason="pip install 'pianoeval[ssh]'")
    server = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if server is None:
        pytest.skip("no sshd on this machine")
    home = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)], check=True
        )
    shutil.copyfile(home / "user.pub", home / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": home / "host",
        "AuthorizedKeysFile": home / "authorized_keys", "PidFile": home / "pid",
        "StrictModes": "no", "UsePAM": "no", "PermitRootLogin": "prohibit-password",
        "Subsystem": "sftp internal-sftp",
    }  # fmt: skip
    (home / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    with suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)  # Debian's sshd wants it when it runs as root
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([server, "-D", "-e", "-f", str(home / "config")], stderr=log)
    try:
        _wait(port, process, home / "log")
        yield {"host": f"127.0.0.1:{port}", "keyfile": str(home / "user")}
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            pytest.skip(f"sshd does not run here: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.skip("sshd does not answer")


@pytest.fixture(params=["folder", "s3", "ssh"])
def workspace(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A workspace whose default remote ``lab`` is a folder, in S3, or behind ssh; all empty."""
    there = tmp_path / "there"
    if request.param == "folder":
        remote = {"url": str(there)}
    elif request.param == "s3":
        address = request.getfixturevalue("s3_address")
        remote = {
            "url": f"s3://items/{tmp_path.name}", "endpointurl": address,
            "access_key_id": "k", "secret_access_key": "s",
        }  # fmt: skip
    else:
        options = request.getfixturevalue("ssh_options")
        remote = {"url": f"ssh://{options['host']}{there}", "keyfile": options["keyfile"]}
    made = remote_workspace(tmp_path / "workspace", remote)
    monkeypatch.chdir(made)
    return made
