"""``pianoeval corpus get | list``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pianoeval.errors import ConfigError

corpus_app = typer.Typer(no_args_is_help=True, help="Fetch and list corpora.")


@corpus_app.command("get")
def corpus_get(
    name: Annotated[str, typer.Argument(help="A corpus of params.yaml: percepiano, folder …")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Local copy, or the folder with your files.")
    ] = None,
    levels: Annotated[
        Path | None, typer.Option(help="Of asap: CSV with composer, title, henle (1 to 9).")
    ] = None,
) -> None:
    """Fetch a corpus into the cache and check every file."""
    from pianoeval.corpora.fetch import FROM_DIR, get_corpus
    from pianoeval.corpora.pin import fetched_receipt, pin_digest
    from pianoeval.params_file import load_params
    from pianoeval.paths import workspace_root

    params = load_params()
    corpora = params.corpora
    if name not in corpora:
        raise ConfigError(
            f"'{name}' is not a corpus of params.yaml", allowed=", ".join(sorted(corpora)),
            next_step=f"add a block corpora.{name} to params.yaml, then run this again",
        )  # fmt: skip
    folder = get_corpus(name, corpora[name], source, levels)
    if corpora[name].loader in FROM_DIR:
        digest = fetched_receipt(name, corpora[name]).digest
        pin_digest(workspace_root() / "params.yaml", name, digest)
        typer.echo(f"corpora.{name}.digest is set in params.yaml: {digest[:12]}")
    typer.echo(f"{name} is in {folder}")
    axes = {"corpus": name}
    if corpora[name].loader == "asap":  # predicted by models of another corpus
        axes = {"corpus": params.transfer.source, "target": name}
        if params.transfer.source in params.axes.corpus:
            del axes["corpus"]
    chosen = " ".join(f"-S 'axes.{axis}=[{one}]'" for axis, one in axes.items())
    typer.echo(f"next: dvc exp run {chosen}   (or set these axes in params.yaml)")


@corpus_app.command("list")
def corpus_list() -> None:
    """List the corpora of params.yaml and whether they are here."""
    from pianoeval.doctor import examine

    for finding in examine():
        if finding.area == "corpus":
            fix = "" if finding.fix in finding.detail else f"; next: {finding.fix}"
            typer.echo(f"{finding.name:20} {finding.detail}{fix}")
