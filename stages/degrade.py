"""degrade@corpus: add degraded versions of each performance, with known severities."""

from pianoeval.corpora.degraded import degrade_corpus
from pianoeval.corpora.manifest import check_notes, corpus_folder, read_manifest
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    check_notes(read_manifest(paths.source / "manifest.parquet"), paths.root)
    with corpus_folder(paths.clips) as out:
        degrade_corpus(params.corpora[corpus], paths.root, out, params.midi)


if __name__ == "__main__":
    run(main)
