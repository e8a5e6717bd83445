"""report: one page for all corpora on the axis, and the headline numbers for ``dvc metrics``."""

import json

from pianoeval.atomic import output_folder, write_output
from pianoeval.evaluate.protocol.receipt import check_results
from pianoeval.fusions import predicted_sources
from pianoeval.joins import join_corpora
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths, workspace_root
from pianoeval.report import (
    load_corpus_report,
    metrics_summary,
    write_plot_tables,
    write_report,
)
from stages import run


def main() -> None:
    params, reports = load_params(), workspace_root() / "reports"
    axes = params.axes
    join_corpora([CorpusPaths(name) for name in axes.corpus], params)
    for name in axes.corpus:
        check_results(CorpusPaths(name))
    sources = predicted_sources(params)
    corpora = [load_corpus_report(CorpusPaths(name), sources) for name in axes.corpus]
    write_report(corpora, reports / "index.html")
    with output_folder(reports / "plots") as folder:
        write_plot_tables(corpora, folder)
    text = json.dumps(metrics_summary(corpora), indent=1)
    write_output(reports / "metrics.json", text + "\n")


if __name__ == "__main__":
    run(main)
