"""folds@corpus: which fold tests each clip, for every scheme; a wide copy for people to read."""

from pianoeval.corpora.manifest import read_manifest
from pianoeval.evaluate.protocol.splits import make_folds, wide_folds
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    paths = CorpusPaths(corpus)
    manifest = read_manifest(paths.manifest)
    folds = make_folds(manifest, load_params().folds)
    folds.to_parquet(paths.folds, index=False)
    paths.results.mkdir(parents=True, exist_ok=True)
    wide_folds(folds, manifest).to_csv(
        paths.results / "folds.csv", index=False, lineterminator="\n"
    )


if __name__ == "__main__":
    run(main)
