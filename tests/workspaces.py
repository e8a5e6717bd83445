"""Workspaces for the tests: a copy of the pipeline with parameters small enough to run here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]


def small_params() -> dict[str, Any]:
    """The shipped parameters, cut down to three five-second excerpts and one encoder."""
    data: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    data["axes"] = {
        "corpus": ["studio"], "instrument": ["grand"], "encoder": ["mel"],
        "features": ["symbolic", "mel"], "target": [],
    }  # fmt: skip
    data["corpora"]["studio"] |= {
        "n_segments": 3, "n_players": 2, "segment_s": 4.0, "tiers": [2, 4],
    }  # fmt: skip
    data["run"] |= {"workers": 1}  # a second process costs more to start than it saves here
    data["contours"] |= {"resolution_semitones": 1.0, "hop_frames": 2048}
    data["encoders"] = {"mel": data["encoders"]["mel"]}
    data["views"] = {
        "symbolic": {"symbolic": {"models": ["ridge"]}},
        "mel": {"mel": {"models": ["ridge"]}},
    }
    data["fusion"] = {}  # of views that are not here
    data["probe"] |= {"ensemble": ["ridge"]}
    quick = {"hidden": 8, "projection": 4, "max_epochs": 3}
    data["rank"] |= {
        "permutations": 19,
        "rankers": {
            "difference": {"views": ["symbolic"], "approach": "difference"},
            "contrastive": {"views": ["mel"], "approach": "contrastive", **quick},
        },
    }
    short = {"chunk_frames": 60, "hop_frames": 30, "kernel": 3, "stride": 2, "epochs": 3}
    data["contrast"] |= {
        "schemes": ["movement_player"], "seeds": [0, 1], "perplexities": [5],
        "heads": {
            "pcconv": {"approach": "pcconv", **short},
            "contrastive": {"approach": "contrastive", "contrast_epochs": 2, **short},
            "statistics": {"approach": "statistics"},
        },
    }  # fmt: skip
    data["evaluate"] |= {"n_bootstrap": 200}
    return data


def write_params(folder: Path, data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data, sort_keys=False)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


def make_workspace(folder: Path, data: dict[str, Any] | None = None) -> Path:
    """A folder that ``workspace_root`` finds: ``dvc.yaml``, and small parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    write_params(folder, small_params() if data is None else data)
    return folder


def make_cache(folder: Path) -> Path:
    """An empty cache that has the assets fetched on this machine, if any."""
    folder.mkdir(parents=True)
    fetched = Path(os.environ["PIANOEVAL_CACHE"]) / "assets"
    if fetched.is_dir():
        (folder / "assets").symlink_to(fetched)
    return folder
