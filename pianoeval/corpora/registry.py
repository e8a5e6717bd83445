"""Which loader reads which corpus."""

from __future__ import annotations

import shutil
from pathlib import Path

from pianoeval.corpora import folder, percepiano, studio
from pianoeval.corpora.manifest import read_manifest
from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.params import Params
from pianoeval.quarantine import check_quarantine, write_quarantine


def ingest_corpus(name: str, params: Params, raw: Path, out: Path) -> None:
    """Read ``raw`` and write the manifest, the labels and the media of one corpus to ``out``.

    Raises
    ------
    BadInputError
        More clips than ``run.max_failed_fraction`` cannot be used (``out/quarantine.json`` says
        why), or the corpus as a whole is not what its loader reads.
    """
    if name not in params.corpora:
        raise ConfigError(
            f"unknown corpus '{name}'", allowed=", ".join(sorted(params.corpora)),
            next_step="add it to corpora in params.yaml",
        )  # fmt: skip
    corpus = params.corpora[name]
    _empty(out)
    quarantined: dict[str, str] = {}
    if corpus.loader == "studio":
        studio.ingest(corpus, name, out, params.midi)
    elif corpus.loader == "percepiano":
        quarantined = percepiano.ingest(corpus, name, raw, out, params.midi)
    else:
        quarantined = folder.ingest(corpus, name, raw, out, params.midi)
    write_quarantine(out / "quarantine.json", quarantined)
    total = len(read_manifest(out / "manifest.parquet")) + len(quarantined)
    check_quarantine(
        quarantined, total, params.run.max_failed_fraction, step=f"the ingest of {name}"
    )


def _empty(out: Path) -> None:
    """An earlier run's files must not stay among the new ones; nothing else is removed."""
    if out.is_dir() and any(out.iterdir()):
        if not (out / "manifest.parquet").is_file() and not (out / "quarantine.json").is_file():
            raise PianoevalError(
                "the directory holds files that are not an ingested corpus", where=out,
                next_step=f"look into '{out}', empty it, then: dvc repro",
            )  # fmt: skip
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
