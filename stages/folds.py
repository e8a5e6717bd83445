"""folds@corpus: which fold tests each clip, for every scheme; a wide copy for people to read."""

from pianoeval.atomic import write_output
from pianoeval.corpora.manifest import read_manifest
from pianoeval.evaluate.protocol.splits import make_folds, wide_folds
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import write_table
from stages import run


def main(corpus: str) -> None:
    paths = CorpusPaths(corpus)
    manifest = read_manifest(paths.manifest)
    folds = make_folds(manifest, load_params().folds)
    write_table(folds, paths.folds)
    wide = wide_folds(folds, manifest).to_csv(index=False, lineterminator="\n")
    write_output(paths.results / "folds.csv", wide)


if __name__ == "__main__":
    run(main)
