"""The report: one offline page, plot tables, and the few numbers that metrics compare."""

from pianoeval.report.data import CorpusReport, load_corpus_report
from pianoeval.report.html import write_report
from pianoeval.report.select import metrics_summary
from pianoeval.report.tables import write_plot_tables

__all__ = [
    "CorpusReport",
    "load_corpus_report",
    "metrics_summary",
    "write_plot_tables",
    "write_report",
]
