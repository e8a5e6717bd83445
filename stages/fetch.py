"""fetch@corpus: bring a corpus that ``pianoeval corpus get`` has fetched into the workspace."""

from pianoeval.corpora.fetch import materialise
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    materialise(corpus, load_params().corpora[corpus], CorpusPaths(corpus).raw)


if __name__ == "__main__":
    run(main)
