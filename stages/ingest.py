"""ingest@corpus: raw files to a validated manifest, labels and MIDI or audio files."""

from pianoeval.corpora.receipt import check_raw
from pianoeval.corpora.registry import ingest_corpus
from pianoeval.errors import quoted
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    paths = CorpusPaths(corpus)
    check_raw(paths.raw, f"rm -r {quoted(paths.raw)} && dvc repro")
    ingest_corpus(corpus, load_params(), paths.raw, paths.source)


if __name__ == "__main__":
    run(main)
