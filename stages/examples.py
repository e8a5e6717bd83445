"""examples@corpus: notes and sound of the clips that a model judged best and worst."""

from pianoeval.media import write_examples
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    write_examples(CorpusPaths(corpus), load_params())


if __name__ == "__main__":
    run(main)
