"""Where things lie: the workspace, the cache, and the files of one corpus."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

_MARKERS = ("dvc.yaml", "params.yaml")


def find_workspace() -> Path | None:
    """Nearest directory at or above the current one that holds the pipeline, if any does."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if all((folder / marker).is_file() for marker in _MARKERS):
            return folder
    return None


def workspace_root() -> Path:
    """The workspace; outside of any, the current directory."""
    return find_workspace() or Path.cwd()


def cache_root() -> Path:
    """Root of everything that is expensive and shared: ``items/``, ``assets/``, ``corpora/``.

    ``$PIANOEVAL_CACHE``; else ``$DVC_ROOT/cache`` (inside ``dvc exp run --temp`` or ``--queue``
    ``DVC_ROOT`` is the main worktree, so an item outlives a killed temporary run); else
    ``cache/`` of the workspace; outside of any, the user's cache folder of the platform
    (``~/.cache/pianoeval``, ``~/Library/Caches/pianoeval``).
    """
    if chosen := os.environ.get("PIANOEVAL_CACHE"):
        return Path(chosen).expanduser()
    if main := os.environ.get("DVC_ROOT"):
        return Path(main) / "cache"
    if workspace := find_workspace():
        return workspace / "cache"
    return platformdirs.user_cache_path("pianoeval", appauthor=False)


@dataclass(frozen=True)
class CorpusPaths:
    """Files of one corpus below ``data/<corpus>/`` and ``reports/<corpus>/``."""

    corpus: str
    workspace: Path = field(default_factory=workspace_root)

    @property
    def root(self) -> Path:
        """``data/<corpus>``; paths in the manifest are relative to it."""
        return self.workspace / "data" / self.corpus

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def clips(self) -> Path:
        return self.root / "clips"

    @property
    def manifest(self) -> Path:
        return self.clips / "manifest.parquet"

    @property
    def labels(self) -> Path:
        return self.clips / "labels.parquet"

    @property
    def ratings(self) -> Path:
        """Raw ratings, where the corpus has them."""
        return self.source / "ratings.parquet"

    @property
    def truth(self) -> Path:
        """What judges without error would have given, where a simulated corpus knows it."""
        return self.source / "truth.parquet"

    @property
    def symbolic(self) -> Path:
        return self.features("symbolic") / "table.parquet"

    @property
    def notes(self) -> Path:
        """Tables of notes, for models that read sequences."""
        return self.features("notes")

    @property
    def folds(self) -> Path:
        return self.root / "folds.parquet"

    @property
    def audit(self) -> Path:
        """Receipt of a clean leak audit, without which nothing is trained."""
        return self.root / "audit.json"

    def audio(self, instrument: str) -> Path:
        return self.root / "audio" / f"{instrument}.zarr"

    def contours(self, instrument: str) -> Path:
        return self.root / "contours" / f"{instrument}.zarr"

    @property
    def contour_audit(self) -> Path:
        """How well pitch contours agree with the MIDI, where there is any."""
        return self.results / "contours.csv"

    def embeddings(self, encoder: str, instrument: str) -> Path:
        return self.root / "embeddings" / encoder / f"{instrument}.zarr"

    def features(self, name: str) -> Path:
        """Everything that probes read of one encoder, or of the symbolic features."""
        return self.root / "features" / name

    def pooled(self, encoder: str, instrument: str) -> Path:
        return self.features(encoder) / f"{instrument}.zarr"

    def predictions(self, features: str) -> Path:
        return self.root / "predictions" / f"{features}.parquet"

    @property
    def ranks(self) -> Path:
        """What rankers say of pairs of takes, and the codes that they learned."""
        return self.root / "ranks"

    @property
    def rank_pairs(self) -> Path:
        return self.ranks / "pairs.parquet"

    @property
    def rank_codes(self) -> Path:
        return self.ranks / "codes.parquet"

    @property
    def contrast(self) -> Path:
        """What heads on frames predict, and the codes that they learned."""
        return self.root / "contrast"

    @property
    def head_predictions(self) -> Path:
        return self.contrast / "predictions.parquet"

    @property
    def head_latents(self) -> Path:
        return self.contrast / "latents.parquet"

    @property
    def contrasted(self) -> Path:
        """Receipt of an evaluation of heads, beside the others."""
        return self.workspace / "data" / "evaluated" / f"{self.corpus}.contrast.json"

    @property
    def transfer(self) -> Path:
        """What models of another corpus predict of this one."""
        return self.root / "transfer.parquet"

    @property
    def evaluated(self) -> Path:
        """Receipt of an evaluation: what the report stage depends on."""
        return self.workspace / "data" / "evaluated" / f"{self.corpus}.json"

    @property
    def ranked(self) -> Path:
        """Receipt of an evaluation of rankers, beside the other."""
        return self.workspace / "data" / "evaluated" / f"{self.corpus}.ranking.json"

    @property
    def examples(self) -> Path:
        """Notes and sound of single clips, beside the receipt because the report reads both."""
        return self.workspace / "data" / "evaluated" / f"{self.corpus}.examples.json"

    @property
    def results(self) -> Path:
        return self.workspace / "reports" / self.corpus
