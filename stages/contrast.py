"""contrast@corpus: heads on frames (PCConvNet, ContrastiveCNN), trained and tested out of fold."""

from pianoeval.atomic import output_folder
from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.evaluate.protocol.receipt import read_audit
from pianoeval.joins import SOURCE, join_views
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.rankings import in_order, table_source
from pianoeval.tablefile import read_table, write_table
from pianoeval.training.contrast import contrast_corpus
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    read_audit(paths)
    join_views(paths, params)
    found = contrast_corpus(
        params, paths, read_manifest(paths.manifest), read_labels(paths.labels),
        read_table(paths.folds), ItemCache(),
    )  # fmt: skip
    written = (found.predictions, paths.head_predictions), (found.latents, paths.head_latents)
    with output_folder(paths.contrast) as folder:
        for table, path in written:
            table.attrs = in_order(table.attrs | {SOURCE: table_source(corpus, path)})
            write_table(table, folder / path.name)


if __name__ == "__main__":
    run(main)
