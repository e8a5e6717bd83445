"""Hollow modules for packages that a reference imports and does not use.

timm imports torchvision for its data loaders, muq x_clip for its text model. They have no part in
what is compared, and torchvision cannot be installed beside a CPU build of PyTorch. What is hollow
fails as soon as it is used.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from typing import ClassVar


class _HollowType(type):
    """A class that has any attribute and cannot be made."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        found = _HollowType(f"{cls.__name__}.{name}", (), {})
        setattr(cls, name, found)
        return found

    def __call__(cls, *_: object, **__: object) -> object:
        raise RuntimeError(f"{cls.__name__} is only a stand-in")


class _Hollow(types.ModuleType):
    """A module in which every name is a hollow class."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        found = _HollowType(f"{self.__name__}.{name}", (), {})
        setattr(self, name, found)
        return found


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name == self.package or name.startswith(self.package + "."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Hollow(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def hollow(package: str) -> None:
    """Let ``package`` and all below it be imported as hollow modules."""
    sys.meta_path.insert(0, _Finder(package))


def without_init(package: str) -> None:
    """Let modules of ``package`` be imported without running its ``__init__``."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"package {package} is not installed")
    module = types.ModuleType(package)
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = module
