"""examples@corpus: notes and sound of the clips that a model judged best and worst."""

from pianoeval.corpora.manifest import check_notes, read_manifest
from pianoeval.evaluate.protocol.receipt import check_evaluated
from pianoeval.joins import join_evaluated
from pianoeval.media import write_examples
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    paths = CorpusPaths(corpus)
    join_evaluated(paths)
    check_evaluated(paths)
    check_notes(read_manifest(paths.manifest), paths.root)
    write_examples(paths, load_params())


if __name__ == "__main__":
    run(main)
