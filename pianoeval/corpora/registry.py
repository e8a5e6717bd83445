"""Which loader reads which corpus."""

from __future__ import annotations

from pathlib import Path

from pianoeval.corpora import asap, auditions, fba, folder, percepiano, studio
from pianoeval.corpora.manifest import corpus_folder, read_manifest
from pianoeval.errors import ConfigError
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
    quarantined: dict[str, str] = {}
    with corpus_folder(out) as made:
        if corpus.loader == "studio":
            studio.ingest(corpus, name, made, params.midi)
        elif corpus.loader == "auditions":
            auditions.ingest(corpus, name, made, params.midi)
        elif corpus.loader == "percepiano":
            quarantined = percepiano.ingest(corpus, name, raw, made, params.midi)
        elif corpus.loader == "asap":
            quarantined = asap.ingest(corpus, name, raw, made, params.midi)
        elif corpus.loader == "fba":
            quarantined = fba.ingest(corpus, name, raw, made, params.midi)
        else:
            quarantined = folder.ingest(corpus, name, raw, made, params.midi)
        write_quarantine(made / "quarantine.json", quarantined)
    total = len(read_manifest(out / "manifest.parquet")) + len(quarantined)
    check_quarantine(
        quarantined, total, params.run.max_failed_fraction, step=f"the ingest of {name}"
    )
