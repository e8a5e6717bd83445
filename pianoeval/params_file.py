"""Read ``params.yaml``: an unknown key is an error that lists the known ones."""

from __future__ import annotations

import re
import typing
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pianoeval.contrasts import contrast_faults
from pianoeval.errors import ConfigError
from pianoeval.fusions import fusion_faults
from pianoeval.params import Block, Params
from pianoeval.paths import workspace_root
from pianoeval.rankings import rank_faults
from pianoeval.yamlfile import read_yaml

#: The pipeline's own ``params.yaml``: a link in the repository, a copy in a wheel.
SHIPPED = Path(__file__).with_name("default_params.yaml")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # names become folders and stage names
_RESERVED = frozenset({"none", "lookup", "ceiling"})  # what the results call their baselines


def load_params(path: Path | None = None) -> Params:
    """Read and validate ``params.yaml`` of the workspace; raises ConfigError."""
    path = path or workspace_root() / "params.yaml"
    if not path.is_file():
        next_step = "cd to the project, or git clone it"
        raise ConfigError("no such file", where=path, next_step=next_step)
    return parse_params(read_yaml(path), path)


def load_settings() -> tuple[Params, Path]:
    """Parameters for work outside of the pipeline, and the file that they come from.

    That is ``params.yaml`` of the workspace or of the current directory; where there is neither,
    the one that ships with the package. Raises ConfigError.
    """
    own = workspace_root() / "params.yaml"
    path = own if own.is_file() else SHIPPED
    return load_params(path), path


def parse_params(data: Any, path: Path = Path("params.yaml")) -> Params:
    """Validate a parsed ``params.yaml``; raises ConfigError."""
    try:
        params = Params.model_validate(data)
    except ValidationError as error:
        raise _explain(error, path) from error
    _check_names(params, path)
    return params


def _explain(error: ValidationError, path: Path) -> ConfigError:
    """The first fault as one sentence, with the known keys of its block where that helps."""
    fault = error.errors()[0]
    location, block = _follow([str(part) for part in fault["loc"]])
    place = ".".join(location)
    if fault["type"] == "extra_forbidden":
        known = ", ".join(sorted(block.model_fields)) if block else ""
        what = f"unknown parameter '{place}'"
        return ConfigError(what, where=path, allowed=known, next_step=f"edit {path}")
    what = f"parameter '{place}': {fault['msg'].lower()}"
    return ConfigError(what, where=path, next_step=f"edit {path}")


def _follow(location: list[str]) -> tuple[list[str], type[Block] | None]:
    """A place as it stands in the file, and the innermost block around it.

    Pydantic inserts the ``kind`` after the name of a block that has several forms.
    """
    kind: Any = Params
    block: type[Block] | None = Params
    place: list[str] = []
    for part in location:
        if typing.get_origin(kind) is typing.Annotated:
            forms = typing.get_args(typing.get_args(kind)[0])
            kind = next(form for form in forms if part in _kinds(form))
        else:
            place.append(part)
            if typing.get_origin(kind) is dict:
                kind = typing.get_args(kind)[1]
            elif isinstance(kind, type) and issubclass(kind, Block):
                field = kind.model_fields.get(part)
                kind = field.annotation if field else None
        if isinstance(kind, type) and issubclass(kind, Block):
            block = kind
    return place, block


def _kinds(form: type[Block]) -> tuple[Any, ...]:
    return typing.get_args(form.model_fields["kind"].annotation)


def _check_names(params: Params, path: Path) -> None:
    """Every name on an axis, and in a view, must have its block; names must be usable."""
    for where, chosen, known in _named(params):
        for name in chosen:
            if name not in known:
                allowed = ", ".join(sorted(known))
                raise _bad_name(f"{where} names '{name}', which is not among the known",
                                path, allowed)  # fmt: skip
    _check_renders(params, path)
    axes = params.axes
    for axis in type(axes).model_fields:
        names = getattr(axes, axis)
        if len(set(names)) < len(names):
            raise _bad_name(f"axes.{axis} names one twice", path, "each name once")
    faults = [*fusion_faults(params), *rank_faults(params), *contrast_faults(params)]
    for where, what, allowed in faults:
        raise _bad_name(f"{where}: {what}", path, allowed)
    views = [name for group in params.views.values() for name in group] + [*params.fusion.views]
    for name in views:
        if views.count(name) > 1 or name in _RESERVED:
            raise _bad_name(f"view '{name}' cannot have this name", path, "one no other row has")
    for name in [*params.corpora, *params.instruments, *params.encoders, *views]:
        if not _NAME.fullmatch(name) or name == "evaluated":
            raise _bad_name(f"'{name}' cannot be a name", path, "letters, digits, '_' and '-'")
    for names in (params.corpora, params.instruments, params.encoders, views):
        twins = Counter(name.lower() for name in names)
        if twice := [name for name in names if twins[name.lower()] > 1]:
            what = f"'{twice[0]}' and '{twice[1]}' are one folder on macOS"
            raise _bad_name(what, path, "names that differ in more than capitals")


def _check_renders(params: Params, path: Path) -> None:
    """Contours are taken from, and examples played on, a render that there is."""
    named = {
        "contours.instrument": params.contours.instrument,
        "report.instrument": params.report.instrument,
    }
    renders = params.axes.instrument
    if absent := {where: name for where, name in named.items() if name not in renders}:
        what = ", ".join(f"{where} names '{name}'" for where, name in absent.items())
        options = " ".join(f"-S {where}={renders[0]}" for where in absent)
        raise ConfigError(
            f"{what}, which is not on axes.instrument", where=path, allowed=", ".join(renders),
            next_step=f"edit {path}, or run with {options}",
        )  # fmt: skip


def _bad_name(what: str, path: Path, allowed: str) -> ConfigError:
    return ConfigError(what, where=path, allowed=allowed, next_step=f"edit {path}")


def _named(params: Params) -> list[tuple[str, list[str], list[str]]]:
    """(where, names used there, names that exist)."""
    axes = params.axes
    rows = [
        ("axes.corpus", axes.corpus, list(params.corpora)),
        ("axes.target", axes.target, [c for c in params.corpora if c not in axes.corpus]),
        ("transfer.source", [params.transfer.source] if axes.target else [], axes.corpus),
        ("axes.instrument", axes.instrument, list(params.instruments)),
        ("axes.encoder", axes.encoder, list(params.encoders)),
        ("axes.features", axes.features, list(params.views)),
        ("axes.features", axes.features, ["symbolic", "notes", *axes.encoder]),
    ]
    for features in axes.features:
        for name, view in params.views.get(features, {}).items():
            rows.append((f"views.{features}.{name}.instruments", view.instruments, axes.instrument))
    return rows
