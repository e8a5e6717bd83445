"""degrade@corpus: add degraded versions of each performance, with known severities."""

from pianoeval.corpora.degraded import degrade_corpus
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    degrade_corpus(params.corpora[corpus], paths.root, paths.clips, params.midi)


if __name__ == "__main__":
    run(main)
