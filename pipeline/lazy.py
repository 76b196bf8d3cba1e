"""Packages whose public functions are imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


class LazyPackage(ModuleType):
    """A package with public names that live in its modules.

    A public name wins over a module of the same name: `pipeline.regrid` is the function, also after
    `import pipeline.regrid.grid`, and `model.train` after `python -m model.train` was imported.
    """

    public: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self.public:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(self.public[name]), name)
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        is_submodule = isinstance(value, ModuleType) and name in self.public
        if not is_submodule:
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.public})


def export(package: str, public: Mapping[str, str]) -> None:
    """Make names available in a package.

    Args:
        package: its `__name__`.
        public: for each name the module that defines it.
    """
    module = sys.modules[package]
    module.__class__ = LazyPackage
    vars(module)["public"] = dict(public)
    vars(module)["__all__"] = sorted(public)
