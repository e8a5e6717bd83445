"""Weights from a hub or a folder: huggingface_hub is real, the hub is served here."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import Hub, Repository, serve, sha256
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from pianoeval.checkpoints import (
    find_checkpoint,
    get_checkpoint,
    is_non_commercial,
    licence_of,
    load_state,
    open_checkpoint,
    read_config,
    read_preprocessor,
    shelf,
    strict_load,
)
from pianoeval.checkpoints.choose import choose_files
from pianoeval.errors import (
    BadInputError,
    ConfigError,
    CorruptDataError,
    MissingAssetError,
    PianoevalError,
)
from pianoeval.params import CheckpointParams

MODEL = "lab/tiny"
OLD, NEW = "a" * 40, "b" * 40
CONFIG = json.dumps({"hidden_size": 3}).encode()


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a.weight": torch.randn(3, 2, generator=generator), "a.bias": torch.zeros(3)}


def as_torch(data: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(data, stream, **options)
    return stream.getvalue()


def pickled_command(path: Path) -> bytes:
    """A pickle that writes a file when it is loaded."""

    class Command:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch '{path}'",))

    return pickle.dumps({"a": Command()})


def in_zip(payload: bytes) -> bytes:
    """The payload as the pickle of a file in the format of torch.save."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def params(**changes: Any) -> CheckpointParams:
    return CheckpointParams(kind="mert", **({"model": MODEL} | changes))


def same(found: dict[str, torch.Tensor], seed: int = 0) -> bool:
    expected = tensors(seed)
    return list(found) == sorted(expected) and all(
        torch.equal(found[name], value) for name, value in expected.items()
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PIANOEVAL_CACHE", str(folder))
    return folder / "checkpoints"


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


@pytest.fixture
def hub(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """One model with two commits, of which the second is the main branch."""
    for faults in (server.short, server.breaking, server.flipped, server.gated):
        faults.clear()
    server.requests.clear()
    server.models = {
        MODEL: Repository(
            {
                OLD: {"config.json": CONFIG, "model.safetensors": save(tensors(1))},
                NEW: {"config.json": CONFIG, "model.safetensors": save(tensors()),
                      "pytorch_model.bin": as_torch(tensors(7)), "modeling_tiny.py": b"raise"},
            },
            licence="cc-by-nc-4.0",
        )
    }  # fmt: skip
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    return server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local model."""
    return make_folder(tmp_path / "local", {"model.safetensors": save(tensors())})


def make_folder(folder: Path, files: dict[str, bytes], config: bytes | None = CONFIG) -> Path:
    for name, data in files.items() | ({("config.json", config)} if config else set()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def kept(cache: Path) -> list[str]:
    """Checkpoints of the cache."""
    found = list(cache.iterdir()) if cache.is_dir() else []
    return sorted(path.name for path in found if not path.name.startswith(".partial."))


# From a hub ------------------------------------------------------------------------------------


def test_a_model_without_revision_is_resolved_once_to_its_commit(hub: Hub, cache: Path) -> None:
    found = get_checkpoint("tiny", params())
    assert found.source == f"{MODEL}@{NEW}"
    assert found.revision == NEW
    assert found.licence == "cc-by-nc-4.0"
    assert found.config == {"hidden_size": 3}
    assert same(load_state(found))
    assert sorted(p.name for p in found.weights.parent.iterdir()) == [
        "checkpoint.json", "config.json", "model.safetensors",
    ]  # fmt: skip
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [found.digest[:16]]
    downloads = [line for line in hub.requests if line.startswith("GET /lab")]
    assert downloads == [f"GET /{MODEL}/resolve/{NEW}/{name}"
                         for name in ("model.safetensors", "config.json")]  # fmt: skip


def test_the_digest_is_over_names_and_hashes(hub: Hub) -> None:
    found = get_checkpoint("tiny", params())
    hashes = {"config.json": sha256(CONFIG), "model.safetensors": sha256(save(tensors()))}
    text = json.dumps(hashes, sort_keys=True, separators=(",", ":"))
    assert found.digest == sha256(text.encode())


def test_a_pinned_revision_is_what_comes(hub: Hub) -> None:
    found = get_checkpoint("tiny", params(revision=OLD))
    assert found.source == f"{MODEL}@{OLD}"
    assert same(load_state(found), seed=1)
    assert not any(NEW in line for line in hub.requests)


def test_what_is_pinned_and_here_needs_no_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = get_checkpoint("tiny", params())
    hub.requests.clear()
    pinned = params(revision=NEW, digest=first.digest)
    assert get_checkpoint("tiny", pinned) == first
    assert open_checkpoint(pinned, "tiny") == find_checkpoint(pinned, "tiny") == first
    assert read_config(pinned, "tiny") == {"hidden_size": 3}
    assert hub.requests == []


def test_other_weights_than_pinned_are_refused_and_not_kept(hub: Hub, cache: Path) -> None:
    with pytest.raises(CorruptDataError, match=r"lab/tiny@b+: has the digest .*pinned is 000"):
        get_checkpoint("tiny", params(revision=NEW, digest="0" * 64))
    assert kept(cache) == []


def test_bytes_that_changed_on_the_way_are_refused(hub: Hub, cache: Path) -> None:
    hub.flipped.add("model.safetensors")
    with pytest.raises(CorruptDataError, match="the hub says") as error:
        get_checkpoint("tiny", params())
    assert error.value.next_step == "pianoeval encoder get tiny"
    assert kept(cache) == []
    hub.flipped.clear()
    assert same(load_state(get_checkpoint("tiny", params())))


def test_a_short_download_is_refused(hub: Hub, cache: Path) -> None:
    hub.short.add("model.safetensors")
    with pytest.raises(MissingAssetError, match="should be of size") as error:
        get_checkpoint("tiny", params())
    assert "try again" in (error.value.next_step or "")
    assert kept(cache) == []
    hub.short.clear()
    assert same(load_state(get_checkpoint("tiny", params())))
    assert kept(cache) == [path.name for path in cache.iterdir() if path.is_dir()]


def test_a_download_that_breaks_off_goes_on(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 16)
    hub.breaking.add("model.safetensors")
    assert same(load_state(get_checkpoint("tiny", params())))
    got = [line for line in hub.requests if line.startswith("GET") and "safetensors" in line]
    assert len(got) == 2
    assert " from " in got[1]


def test_a_missing_config_is_an_empty_one(hub: Hub) -> None:
    hub.models[MODEL].commits = {NEW: {"weights.pth": as_torch({"state_dict": tensors()})}}
    found = get_checkpoint("tiny", params())
    assert found.config == read_config(params(digest=found.digest), "tiny") == {}
    assert list(load_state(found)) == list(tensors())


@pytest.mark.parametrize(
    ("change", "message", "next_step"),
    [
        ({"model": "lab/none"}, "could not be fetched", "check the id"),
        ({"revision": "c" * 40}, "could not be fetched", "--revision COMMIT"),
        ({"revision": "no-such-tag"}, "could not be fetched", "--revision COMMIT"),
    ],
)
def test_what_the_hub_does_not_hold(
    hub: Hub, cache: Path, change: dict[str, str], message: str, next_step: str
) -> None:
    with pytest.raises(MissingAssetError, match=message) as error:
        get_checkpoint("tiny", params(**change))
    assert next_step in (error.value.next_step or "")
    assert kept(cache) == []


def test_a_model_whose_terms_are_not_accepted(hub: Hub) -> None:
    hub.gated.add(MODEL)
    with pytest.raises(MissingAssetError, match="could not be fetched") as error:
        get_checkpoint("tiny", params())
    assert "accept the model's terms" in (error.value.next_step or "")


def test_no_network_is_one_message(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    with pytest.raises(MissingAssetError, match="lab/tiny: could not be fetched") as error:
        get_checkpoint("tiny", params())
    assert "pianoeval encoder get tiny --from DIR_OR_FILE" in (error.value.next_step or "")
    assert kept(cache) == []


def test_offline_mode_is_respected(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: huggingface_hub reads the variable once."""
    code = (
        "from pianoeval.checkpoints import get_checkpoint\n"
        "from pianoeval.params import CheckpointParams\n"
        "get_checkpoint('tiny', CheckpointParams(kind='mert', model='lab/tiny'))\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "pianoeval.errors.MissingAssetError" in done.stderr
    assert "unset HF_HUB_OFFLINE" in done.stderr
    assert hub.requests == []


@pytest.mark.parametrize("model", ["", "tiny", "a/b/c", "../up/x", "a/..", "https://x/y", "a/b c"])
def test_only_a_hub_id_is_asked_for(hub: Hub, model: str) -> None:
    with pytest.raises(ConfigError, match="model is '") as error:
        get_checkpoint("tiny", params(model=model))
    assert "--from DIR_OR_FILE" in (error.value.next_step or "")
    assert hub.requests == []


def test_random_weights_need_no_fetching(hub: Hub) -> None:
    with pytest.raises(ConfigError, match="drawn at random"):
        get_checkpoint("tiny", params(weights="random"))


# From a folder or a file -----------------------------------------------------------------------


def test_hub_and_folder_give_one_checkpoint(hub: Hub, folder: Path, cache: Path) -> None:
    local = get_checkpoint("tiny", params(), folder)
    assert local.source == "folder"
    assert local.revision == ""
    remote = get_checkpoint("tiny", params(revision=NEW))
    assert remote.digest == local.digest
    assert kept(cache) == [local.digest[:16]]
    assert remote.source == f"{MODEL}@{NEW}"  # from now on it is known where the files belong
    assert get_checkpoint("tiny", params(), folder).source == remote.source


def test_a_file_takes_the_config_beside_it(folder: Path) -> None:
    whole = get_checkpoint("tiny", params(), folder)
    assert get_checkpoint("tiny", params(), folder / "model.safetensors") == whole
    (folder / "config.json").unlink()
    alone = get_checkpoint("tiny", params(), folder / "model.safetensors")
    assert alone.config == {}
    assert alone.digest != whole.digest


def test_the_preprocessor_s_configuration_comes_along(folder: Path) -> None:
    without = get_checkpoint("tiny", params(), folder)
    assert read_preprocessor(params(digest=without.digest), "tiny") == {}
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    found = get_checkpoint("tiny", params(), folder)
    assert found.digest != without.digest
    assert read_preprocessor(params(digest=found.digest), "tiny") == {"do_normalize": False}
    assert read_config(params(digest=found.digest), "tiny") == found.config == {"hidden_size": 3}
    assert get_checkpoint("tiny", params(), folder / "model.safetensors") == found
    (folder / "preprocessor_config.json").write_text("[]")
    with pytest.raises(CorruptDataError, match=r": preprocessor_config\.json: holds a list"):
        get_checkpoint("tiny", params(), folder)


def test_the_original_may_be_changed_or_removed_afterwards(folder: Path) -> None:
    found = get_checkpoint("tiny", params(), folder)
    (folder / "model.safetensors").unlink()
    assert same(load_state(open_checkpoint(params(digest=found.digest), "tiny")))
    assert not found.weights.is_symlink()


def test_a_folder_of_links_is_copied_through(folder: Path, tmp_path: Path) -> None:
    """The hub's own cache is one."""
    links = tmp_path / "snapshot"
    links.mkdir()
    for path in folder.iterdir():
        (links / path.name).symlink_to(path)
    found = get_checkpoint("tiny", params(), links)
    assert found == get_checkpoint("tiny", params(), folder)
    assert stat.S_ISREG(found.weights.lstat().st_mode)
    (folder / "model.safetensors").unlink()
    with pytest.raises(PianoevalError, match="cannot read or write"):
        get_checkpoint("tiny", params(), links)


def test_what_lies_elsewhere_than_pinned_is_refused(folder: Path, cache: Path) -> None:
    with pytest.raises(CorruptDataError, match=r"encoders\.tiny: has the digest"):
        get_checkpoint("tiny", params(digest="0" * 64), folder)
    assert kept(cache) == []


@pytest.mark.parametrize("name", ["nothing", "local/notes.txt"])
def test_no_such_source(folder: Path, name: str) -> None:
    (folder / "notes.txt").write_text("x")
    with pytest.raises(BadInputError, match="no such folder or weights file"):
        get_checkpoint("tiny", params(), folder.parent / name)


def test_files_are_shared_with_the_group(folder: Path) -> None:
    found = get_checkpoint("tiny", params(), folder)
    for path in found.weights.parent.iterdir():
        assert path.stat().st_mode & 0o660 == 0o660
    for place in (found.weights.parent, shelf.shelf()):
        assert stat.S_IMODE(place.stat().st_mode) == 0o2775


@pytest.mark.parametrize("config", [b"[1]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_config_that_is_no_object_is_refused(folder: Path, cache: Path, config: bytes) -> None:
    (folder / "config.json").write_bytes(config)
    with pytest.raises(CorruptDataError, match=r"config\.json"):
        get_checkpoint("tiny", params(), folder)
    assert kept(cache) == []


# Which file ------------------------------------------------------------------------------------

CHOICES = [
    (["model.safetensors", "pytorch_model.bin", "other.pt"], "", "model.safetensors"),
    (["pytorch_model.bin", "other.safetensors"], "", "pytorch_model.bin"),
    (["README.md", "vqvae.pth.tar", "run.py"], "", "vqvae.pth.tar"),
    (["a.pt", "b.pt"], "b.pt", "b.pt"),
    (["model.safetensors", "old/b.pt"], "old/b.pt", "old/b.pt"),
    (["model.safetensors", "model.safetensors.index.json"], "", "model.safetensors"),
    (["only.pt", "deeper/other.pt"], "", "only.pt"),
]


@pytest.mark.parametrize(("names", "wanted", "chosen"), CHOICES)
def test_one_weights_file_is_chosen(names: list[str], wanted: str, chosen: str) -> None:
    assert choose_files(names, wanted, "there", "tiny") == [chosen]
    with_config = [*names, "config.json", "nested/config.json"]
    assert choose_files(with_config, wanted, "there", "tiny") == [chosen, "config.json"]


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        ([], "", "holds no weights"),
        (["a.pt", "b.pt"], "", r"holds 2 weights files: a\.pt, b\.pt"),
        (["sub/a.pt"], "", "holds no weights"),
        (["../a.pt"], "", "holds no weights"),
        (["model-00001-of-00002.safetensors", "model.safetensors.index.json"], "", "in pieces"),
        (["pytorch_model-00001-of-00001.bin"], "", "in pieces"),
        (["a-00001-of-00002.pt", "b.pt"], "a-00001-of-00002.pt", "in pieces"),
    ],
)
def test_none_several_or_pieces_are_refused(names: list[str], wanted: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as error:
        choose_files(names, wanted, "there", "tiny")
    assert "encoders.tiny.file" in (error.value.next_step or "")


@pytest.mark.parametrize(
    "wanted", ["../a.pt", "/etc/a.pt", "sub/../../a.pt", "a\\..\\b.pt", "a.py", "config.json"]
)
def test_a_name_cannot_lead_out_of_the_folder(wanted: str) -> None:
    with pytest.raises(ConfigError, match="file is '"):
        choose_files([wanted], wanted, "there", "tiny")


@settings(deadline=None)
@given(st.text(max_size=30))
def test_no_name_that_is_chosen_leads_anywhere_else(name: str) -> None:
    root = Path("/root-of-model")
    try:
        [chosen, *_] = choose_files([name, name + ".pt", name + ".bin"], name, "there", "tiny")
    except PianoevalError:
        try:
            [chosen, *_] = choose_files([name + ".safetensors"], "", "there", "tiny")
        except PianoevalError:
            return
    assert os.path.normpath(root / chosen).startswith(f"{root}/")
    assert chosen.isprintable()


def test_pieces_on_the_hub_are_refused_before_anything_is_downloaded(hub: Hub) -> None:
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    pieces = {name: save(tensors()) for name in files}
    hub.models[MODEL].commits = {NEW: {**pieces, "model.safetensors.index.json": b"{}"}}
    with pytest.raises(BadInputError, match=r"lab/tiny@b+: the weights are in pieces"):
        get_checkpoint("tiny", params())
    assert len(hub.requests) == 1


def test_a_named_file_on_the_hub(hub: Hub) -> None:
    hub.models[MODEL].commits[NEW]["deep/er/other.pt"] = as_torch(tensors(3))
    found = get_checkpoint("tiny", params(file="deep/er/other.pt"))
    assert found.weights.name == "other.pt"
    assert torch.equal(load_state(found)["a.weight"], tensors(3)["a.weight"])
    with pytest.raises(ConfigError, match=r"has no file 'none\.pt'.*deep/er/other\.pt"):
        get_checkpoint("tiny", params(file="none.pt"))


# Tensors, and nothing else ---------------------------------------------------------------------


@pytest.mark.parametrize("in_format", ["zip", "plain"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickle_is_never_executed(tmp_path: Path, cache: Path, name: str, in_format: str) -> None:
    mark = tmp_path / "executed"
    payload = pickled_command(mark)
    pickle.loads(payload)  # noqa: S301  (the payload does what this test fears)
    assert mark.exists()
    mark.unlink()
    data = in_zip(payload) if in_format == "zip" else payload
    source = make_folder(tmp_path / "evil", {name: data})
    with pytest.raises(CorruptDataError, match="cannot be read as plain tensors") as error:
        get_checkpoint("tiny", params(), source)
    assert "nothing of this one was run" in (error.value.next_step or "")
    assert not mark.exists()
    assert kept(cache) == []


def test_a_pickle_on_the_hub_is_never_executed(hub: Hub, tmp_path: Path, cache: Path) -> None:
    mark = tmp_path / "executed"
    hub.models[MODEL].commits = {NEW: {"pytorch_model.bin": in_zip(pickled_command(mark))}}
    with pytest.raises(CorruptDataError, match="cannot be read as plain tensors"):
        get_checkpoint("tiny", params())
    assert not mark.exists()
    assert kept(cache) == []


FORMATS = {
    "model.safetensors": lambda: save(tensors()),
    "zip.bin": lambda: as_torch(tensors()),
    "old.pt": lambda: as_torch(tensors(), _use_new_zipfile_serialization=False),
    "lightning.ckpt.pth": lambda: as_torch({"state_dict": tensors(), "epoch": 3}),
    "mae.pth": lambda: as_torch({"model": tensors(), "optimizer": {"state": {}}}),
    "both.pth.tar": lambda: as_torch({"state_dict": {"model": tensors()}, "step": 1}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_give_the_same_tensors(tmp_path: Path, name: str) -> None:
    source = make_folder(tmp_path / "local", {name: FORMATS[name]()})
    state = load_state(get_checkpoint("tiny", params(), source))
    assert sorted(state) == sorted(tensors())
    assert all(torch.equal(state[key], value) for key, value in tensors().items())


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"not weights", save(tensors())[:-4], as_torch(tensors())[:-200],
     as_torch([1, 2]), as_torch({}), as_torch({"state_dict": {"a": 1}})],
)  # fmt: skip
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_anything_else_is_refused(tmp_path: Path, cache: Path, name: str, data: bytes) -> None:
    source = make_folder(tmp_path / "local", {name: data})
    with pytest.raises(CorruptDataError, match=r"tensors|parameters"):
        get_checkpoint("tiny", params(), source)
    assert kept(cache) == []


# In the cache ----------------------------------------------------------------------------------


def test_without_a_digest_or_a_copy_the_next_command_is_told(hub: Hub, folder: Path) -> None:
    for read in (open_checkpoint, find_checkpoint, read_config):
        with pytest.raises(MissingAssetError, match="none are pinned") as error:
            read(params(), "tiny")
        assert error.value.next_step == "pianoeval encoder get tiny"
        with pytest.raises(MissingAssetError, match="are not in the cache") as error:
            read(params(digest="0" * 64, model=""), "tiny")
        assert error.value.next_step == "pianoeval encoder get tiny --from DIR_OR_FILE"
        with pytest.raises(ConfigError, match=r"digest is '\.\./x'"):
            read(params(digest="../x"), "tiny")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "checkpoint.json"])
def test_a_file_changed_in_the_cache_is_refused_and_fetched_again(hub: Hub, name: str) -> None:
    found = get_checkpoint("tiny", params())
    pinned = params(revision=NEW, digest=found.digest)
    shelf._CHECKED.clear()
    path = found.weights.parent / name
    path.write_bytes(path.read_bytes().replace(b"a.weight", b"b.weight").replace(b"3", b"4"))
    with pytest.raises(CorruptDataError) as error:
        open_checkpoint(pinned, "tiny")
    assert error.value.next_step == (
        f"rm -r '{found.weights.parent}' && pianoeval encoder get tiny"
    )
    assert get_checkpoint("tiny", pinned) == found
    shelf._CHECKED.clear()
    assert same(load_state(open_checkpoint(pinned, "tiny")))


def test_another_checkpoint_in_its_place_is_refused(folder: Path) -> None:
    found = get_checkpoint("tiny", params(), folder)
    other = found.digest[:16] + "0" * 48
    with pytest.raises(CorruptDataError, match="holds the checkpoint"):
        open_checkpoint(params(digest=other), "tiny")


def test_weights_removed_from_the_cache_are_missing(folder: Path) -> None:
    found = get_checkpoint("tiny", params(), folder)
    shelf._CHECKED.clear()
    found.weights.unlink()
    with pytest.raises(MissingAssetError):
        find_checkpoint(params(digest=found.digest), "tiny")
    with pytest.raises(CorruptDataError, match="no file"):
        open_checkpoint(params(digest=found.digest), "tiny")


def test_weights_are_hashed_once_a_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = get_checkpoint("tiny", params(), folder)
    shelf._CHECKED.clear()
    hashed: list[str] = []
    real = shelf.sha256_file
    monkeypatch.setattr(shelf, "sha256_file", lambda path: hashed.append(path.name) or real(path))
    for _ in range(3):
        open_checkpoint(params(digest=found.digest), "tiny")
    assert hashed.count("model.safetensors") == 1


def test_a_full_disk_is_one_message(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pianoeval.checkpoints.get.shutil.copyfile", full)
    with pytest.raises(PianoevalError, match="No space left on device") as error:
        get_checkpoint("tiny", params(), folder)
    assert "free disk space" in (error.value.next_step or "")
    assert kept(cache) == []


# Into a network --------------------------------------------------------------------------------


def net() -> nn.Module:
    module = nn.ModuleDict({"a": nn.Linear(2, 3)})
    module.register_buffer("scale", torch.ones(1))
    return module


def test_strict_load_copies_every_parameter() -> None:
    module = net()
    state = {**tensors(), "scale": torch.full((1,), 2.0), "head.weight": torch.ones(1)}
    strict_load(module, state, "tiny", ignored=["head."])
    assert torch.equal(module.state_dict()["a.weight"], state["a.weight"])
    assert module.state_dict()["scale"] == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": None}, "1 missing: scale"),
        ({"extra": torch.ones(1)}, "1 unexpected: extra"),
        ({"a.weight": torch.ones(2, 3)}, r"a\.weight \(2, 3\) instead of \(3, 2\)"),
        ({"scale": None, "extra": torch.ones(1)}, "1 missing: scale; 1 unexpected: extra"),
    ],
)
def test_strict_load_names_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    state = {**tensors(), "scale": torch.ones(1)} | change
    given = {name: value for name, value in state.items() if value is not None}
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CorruptDataError, match=f"where: .*{message}"):
        strict_load(module, given, "where", ignored=["head."])
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_an_ignored_prefix_hides_no_parameter_of_the_network() -> None:
    module = net()
    state = {**tensors(), "scale": torch.ones(1)}
    strict_load(module, state, "tiny", ignored=["a."])
    assert torch.equal(module.state_dict()["a.weight"], state["a.weight"])


# Licences --------------------------------------------------------------------------------------


def test_a_licence_is_known_stated_or_not_known() -> None:
    assert licence_of(params(model="m-a-p/MERT-v1-95M"), "mit") == "CC BY-NC 4.0"
    assert licence_of(params(), "apache-2.0") == "apache-2.0"
    assert licence_of(params(model="descript/dac_44khz"), "mit").startswith("MIT")
    assert licence_of(params(model="descript/dac_44khz"), "cc-by-nc-4.0") == "cc-by-nc-4.0"
    assert "not known" in licence_of(params())


@pytest.mark.parametrize(
    ("licence", "expected"),
    [("CC BY-NC 4.0 (weights; the code is MIT)", True), ("cc-by-nc-sa-4.0", True),
     ("OpenAI Noncommercial Use License", True), ("MIT", False), ("CC BY 4.0", False), ("", False)],
)  # fmt: skip
def test_non_commercial_licences_are_recognised(licence: str, expected: bool) -> None:
    assert is_non_commercial(licence) is expected
