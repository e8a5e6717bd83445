"""``pianoeval encoder``, and what fetch, doctor and plan say of encoders without weights."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_server import Hub, Repository, serve
from rich.console import Console
from safetensors.torch import load, save
from transformers import DacConfig
from workspaces import ROOT, make_workspace, small_params, write_params

from pianoeval.cli import main
from pianoeval.commands import encoder
from pianoeval.encoders.codecs.dac import DacNet, draw_weights
from pianoeval.encoders.inventory import encoder_facts
from pianoeval.encoders.layers import parse_layers
from pianoeval.params import CheckpointParams

MODEL = "descript/dac_44khz"
OLD, NEW = "a" * 40, "b" * 40
DIM = 32  # of the tiny networks; the published one has 1024
CONFIG = {
    "encoder_hidden_size": 2, "downsampling_ratios": [2, 4, 8, 8], "n_codebooks": 1,
    "codebook_size": 4, "codebook_dim": 2, "sampling_rate": 44_100,
}  # fmt: skip
BLOCK = {"kind": "dac", "model": MODEL, "revision": "", "digest": ""}


@lru_cache
def files(seed: int) -> dict[str, bytes]:
    net = DacNet(DacConfig(**CONFIG))
    draw_weights(net, seed)
    weights = save({name: value.contiguous() for name, value in net.state_dict().items()})
    return {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": weights}


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


@pytest.fixture
def hub(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    server.models = {
        MODEL: Repository({OLD: files(1), NEW: files(2)}, licence="mit"),
        "lab/other": Repository({OLD: files(3)}, licence="cc-by-nc-4.0"),
    }
    server.requests.clear()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    return server


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with the encoders mel (used) and dac; the cache is empty."""
    folder = make_workspace(tmp_path / "workspace", with_dac())
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    return folder


def with_dac(used: bool = False, **changes: Any) -> dict[str, Any]:
    data = small_params()
    data["encoders"]["dac"] = BLOCK | changes
    if used:
        data["axes"]["encoder"] = ["mel", "dac"]
    return data


def block(workspace: Path, name: str = "dac") -> dict[str, Any]:
    data = yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = data["encoders"][name]
    return found


class Command:
    """``pianoeval …`` through its entry point: exit status, output, errors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["pianoeval", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self.capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err


@pytest.fixture
def pianoeval(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


# Get -------------------------------------------------------------------------------------------


def test_get_pins_the_model_and_keeps_the_comments(
    workspace: Path, hub: Hub, pianoeval: Command
) -> None:
    shutil.copyfile(ROOT / "params.yaml", workspace / "params.yaml")
    before = (workspace / "params.yaml").read_text(encoding="utf-8")
    status, out, err = pianoeval("encoder", "get", "dac")
    assert status == 0, err
    assert f"dac: {MODEL}@{NEW}, in " in out
    assert "licence: MIT" in out
    assert "commercial" not in out
    after = (workspace / "params.yaml").read_text(encoding="utf-8")
    pinned = block(workspace)
    assert pinned["revision"] == NEW
    assert len(pinned["digest"]) == 64
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old.split() != new.split()
    ]
    assert changed == [
        ('    revision: ""', f'    revision: "{NEW}"'),
        ('    digest: ""', f'    digest: "{pinned["digest"]}"'),
    ]

    hub.requests.clear()
    status, out, _ = pianoeval("encoder", "get", "dac")
    assert (status, hub.requests) == (0, [])
    assert "is unchanged" in out
    assert (workspace / "params.yaml").read_text(encoding="utf-8") == after


def test_get_of_another_revision_or_model_pins_anew(
    workspace: Path, hub: Hub, pianoeval: Command
) -> None:
    digests = set()
    for options, model, revision in (
        ((), MODEL, NEW),
        (("--revision", OLD), MODEL, OLD),
        (("--model", "lab/other"), "lab/other", OLD),
        (("--model", MODEL, "--revision", NEW), MODEL, NEW),
    ):
        status, out, err = pianoeval("encoder", "get", "dac", *options)
        assert status == 0, err
        pinned = block(workspace)
        assert (pinned["model"], pinned["revision"]) == (model, revision)
        assert ("not for commercial use" in out) is (model == "lab/other")
        digests.add(pinned["digest"])
    assert len(digests) == 3


def test_get_from_a_folder_pins_the_digest_alone(
    workspace: Path, hub: Hub, pianoeval: Command, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    for name, data in files(2).items():
        (local / name).write_bytes(data)
    status, out, err = pianoeval("encoder", "get", "dac", "--from", str(local))
    assert status == 0, err
    assert "dac: folder, in " in out
    assert hub.requests == []
    pinned = block(workspace)
    assert (pinned["model"], pinned["revision"]) == (MODEL, "")
    (local / "model.safetensors").write_bytes(files(9)["model.safetensors"])
    status, _, err = pianoeval("encoder", "get", "dac", "--from", str(local))
    assert status == 1
    assert "has the digest" in err
    assert "empty encoders.dac.digest in params.yaml" in err
    assert block(workspace) == pinned
    # The files are the hub's: its commit is told when they are asked for there.
    shutil.rmtree(tmp_path / "cache")
    assert pianoeval("encoder", "get", "dac")[0] == 0
    assert block(workspace) == pinned | {"revision": NEW}


def test_weights_that_do_not_fit_are_not_pinned(
    workspace: Path, hub: Hub, pianoeval: Command, tmp_path: Path
) -> None:
    """Told by name when they are fetched, and not by a worker when clips are embedded."""
    local = tmp_path / "local"
    local.mkdir()
    weights = load(files(2)["model.safetensors"])
    less = {name: value for name, value in weights.items() if name != "encoder.conv1.bias"}
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    for state, config, told in (
        (less, CONFIG, "1 missing: encoder.conv1.bias"),
        ({**weights, "encoder.x": torch.zeros(1)}, CONFIG, "1 unexpected: encoder.x"),
        (wrapped, CONFIG, "unexpected: module."),
        (weights, CONFIG | {"codebook_size": 5}, "of another shape"),
        (weights, CONFIG | {"encoder_hidden_size": "2"}, "has encoder_hidden_size: '2'"),
    ):
        (local / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (local / "model.safetensors").write_bytes(save(state))
        status, out, err = pianoeval("encoder", "get", "dac", "--from", str(local))
        assert (status, out) == (1, "")
        assert "ERROR encoders.dac: " in err
        assert told in err
        assert "next: choose " in err
        assert block(workspace) == BLOCK


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("musicnn",), "'musicnn' is not an encoder of params.yaml (allowed: dac, mel)"),
        (("mel",), "'mel' takes no weights from a hub or a folder"),
        (("dac", "--from", "x", "--revision", NEW), "--from is given together with"),
        (("dac", "--model", "no id"), "model is 'no id'"),
        (("dac", "--from", "nowhere"), "no such folder or weights file"),
    ],
)
def test_what_get_refuses(
    workspace: Path, hub: Hub, pianoeval: Command, arguments: tuple[str, ...], message: str
) -> None:
    status, _, err = pianoeval("encoder", "get", *arguments)
    assert status == 1
    assert message in err
    assert "next: " in err
    assert block(workspace) == BLOCK
    assert hub.requests == []


# List ------------------------------------------------------------------------------------------


def listed(pianoeval: Command) -> dict[str, dict[str, Any]]:
    status, out, err = pianoeval("encoder", "list", "--json")
    assert status == 0, err
    return {row["name"]: row for row in json.loads(out)}


def test_list_before_and_after_get(workspace: Path, hub: Hub, pianoeval: Command) -> None:
    before = listed(pianoeval)
    assert before["mel"]["ready"]
    assert before["mel"]["used"]
    assert before["mel"]["weights"] == "none needed"
    dac = before["dac"]
    assert not dac["ready"]
    assert not dac["used"]
    assert dac["next_step"] == "pianoeval encoder get dac"
    assert dac["assumed"]
    contract = dac["contract"]
    assert (contract["sample_rate_hz"], contract["dim"]) == (44_100, 1024)
    _, text, _ = pianoeval("encoder", "list")
    assert "~44100" in text
    assert "next: pianoeval encoder get dac" in text

    assert pianoeval("encoder", "get", "dac")[0] == 0
    after = listed(pianoeval)["dac"]
    assert after["ready"]
    assert not after["assumed"]
    assert after["weights"] == f"{MODEL}@{NEW}"
    assert after["digest"] == block(workspace)["digest"]
    assert after["contract"] == contract | {"dim": DIM}
    assert "~" not in pianoeval("encoder", "list")[1]


def test_list_does_not_guess_what_another_model_is(workspace: Path, pianoeval: Command) -> None:
    write_params(workspace, with_dac(model="lab/other"))
    found = listed(pianoeval)["dac"]
    assert found["contract"] is None
    assert "not known" in found["licence"]
    assert " ? " in pianoeval("encoder", "list")[1]


def test_list_shows_parameters_that_do_not_fit(workspace: Path, pianoeval: Command) -> None:
    data = with_dac()
    data["encoders"]["mel"] |= {"layers": "7"}
    write_params(workspace, data)
    found = listed(pianoeval)["mel"]
    assert not found["ready"]
    assert "7" in found["problem"]
    assert found["contract"] is None


@pytest.mark.parametrize("width", [80, 140, 180])
def test_the_list_is_readable_at_any_width(
    workspace: Path, pianoeval: Command, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """No name or number is broken, and no line is wider than the terminal."""
    monkeypatch.setattr(encoder, "console", lambda _: Console(width=width))
    _, text, _ = pianoeval("encoder", "list")
    lines = [line.split() for line in text.splitlines()]
    assert max(map(len, text.split("~ of the published")[0].splitlines())) <= width
    told = ["-", "dac", "~44100", "~86.13", "~latent,quantized", "~1024", "~9.996"]
    of_dac = [word for line in lines if "dac" in line for word in line]
    assert set(told) <= set(of_dac)
    assert [line for line in lines if line[:2] == ["ready", "mel"]]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["0", "1", "2", "3"], "0..3"),
        (["4", "9", "10", "11", "12"], "4,9..12"),
        (["1", "2", "ctx"], "1,2,ctx"),
        (["latent"], "latent"),
    ],
)
def test_layers_are_listed_as_they_are_chosen(names: list[str], text: str) -> None:
    assert encoder._ranges(names) == text
    every = [*map(str, range(13)), "ctx", "latent"]
    assert [every[i] for i in parse_layers(text, every)] == names


def test_every_shipped_encoder_has_facts() -> None:
    """With an empty cache: nothing crashes, and what is missing names the next command."""
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["encoders"]
    for name, data in shipped.items():
        if data["kind"] in ("transkun", "mel") or data.get("weights") == "random":
            continue
        facts = encoder_facts(name, CheckpointParams(**data))
        assert not facts.ready
        assert facts.assumed
        assert facts.next_step == f"pianoeval encoder get {name}"
        assert "not known" not in facts.licence
        assert facts.non_commercial is (name != "dac")


# Fetch, doctor, plan ---------------------------------------------------------------------------


@pytest.fixture
def no_assets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound fonts are not what is tested."""
    monkeypatch.setattr("pianoeval.assets.fetch_asset", lambda name: Path(name))


@pytest.mark.usefixtures("no_assets")
def test_fetch_gets_what_is_pinned_and_used(
    workspace: Path, hub: Hub, pianoeval: Command, tmp_path: Path
) -> None:
    assert pianoeval("encoder", "get", "dac")[0] == 0
    pinned = block(workspace)
    shutil.rmtree(tmp_path / "cache")
    assert pianoeval("fetch")[0] == 0
    assert not (tmp_path / "cache" / "checkpoints").exists()  # no axis names it
    write_params(workspace, with_dac(used=True, **pinned))
    status, out, err = pianoeval("fetch")
    assert status == 0, err
    weights = tmp_path / "cache" / "checkpoints" / pinned["digest"][:16] / "model.safetensors"
    assert f"dac: {weights}" in out
    assert weights.read_bytes() == files(2)["model.safetensors"]


@pytest.mark.usefixtures("no_assets")
def test_fetch_does_not_choose_weights(workspace: Path, hub: Hub, pianoeval: Command) -> None:
    for pinned in ({}, {"revision": NEW}, {"digest": "0" * 64}):
        write_params(workspace, with_dac(used=True, **pinned))
        status, _, err = pianoeval("fetch")
        assert status == 1
        assert "not all pinned" in err
        assert "next: pianoeval encoder get dac" in err
    assert hub.requests == []


def dac_finding(pianoeval: Command) -> dict[str, Any]:
    rows = json.loads(pianoeval("doctor", "--json")[1])
    [found] = [row for row in rows if (row["area"], row["name"]) == ("encoder", "dac")]
    return dict(found)


def test_doctor_tells_whether_an_encoder_is_ready(
    workspace: Path, hub: Hub, pianoeval: Command
) -> None:
    unused = dac_finding(pianoeval)
    assert unused["good"]
    assert "not used: pianoeval encoder get dac" in unused["detail"]
    write_params(workspace, with_dac(used=True))
    missing = dac_finding(pianoeval)
    assert not missing["good"]
    assert missing["fix"] == "pianoeval encoder get dac"
    assert pianoeval("encoder", "get", "dac", "--model", "lab/other")[0] == 0
    ready = dac_finding(pianoeval)
    assert ready["good"]
    assert ready["detail"] == "ready (dac, cc-by-nc-4.0: not for commercial use)"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_doctor_misses_a_device(workspace: Path, pianoeval: Command) -> None:
    write_params(workspace, with_dac(used=True, weights="random", device="cuda"))
    found = dac_finding(pianoeval)
    assert not found["good"]
    assert "there is no such device here" in found["detail"]


def test_plan_of_an_encoder_without_weights_is_a_row(
    workspace: Path, hub: Hub, pianoeval: Command
) -> None:
    write_params(workspace, with_dac(used=True))

    def row() -> dict[str, Any]:
        status, out, err = pianoeval("plan", "--json")
        assert status == 0, err
        [found] = [r for r in json.loads(out) if r["stage"] == "embed@studio-dac-grand"]
        return dict(found)

    absent = row()
    assert absent["items"] == absent["missing"] > 0
    assert absent["estimate_s"] > 0
    assert absent["note"].endswith("next: pianoeval encoder get dac")
    assert "pianoeval encoder get dac" in " ".join(pianoeval("plan")[1].split())
    assert pianoeval("encoder", "get", "dac")[0] == 0
    assert row() == absent | {"note": "estimated from params.yaml"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_plan_tells_that_the_device_is_missing(workspace: Path, pianoeval: Command) -> None:
    write_params(workspace, with_dac(used=True, weights="random", device="cuda"))
    status, out, err = pianoeval("plan", "--json")
    assert status == 0, err
    [row] = [r for r in json.loads(out) if r["stage"] == "embed@studio-dac-grand"]
    assert "there is no such device here" in row["note"]


@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_plan_refuses_a_view_of_a_layer_that_is_not_stored(
    workspace: Path, pianoeval: Command, weights: str
) -> None:
    """Before hours of embedding, and whether or not the weights are here."""
    data = with_dac(used=True, weights=weights, layers="latent")
    data["axes"]["features"] = [*data["axes"]["features"], "dac"]
    data["views"]["dac"] = {"dac": {"layers": "quantized", "models": ["ridge"]}}
    write_params(workspace, data)
    status, _, err = pianoeval("plan")
    assert status == 1
    assert "views.dac.dac: unknown layer 'quantized'" in err
    assert "latent" in err
