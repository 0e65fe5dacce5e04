"""Dataclasses that hold tensors, and each other: their tensors by name, and the same with other tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

Tree = TypeVar("Tree")


def tensors_of(tree: Any, prefix: str = "") -> dict[str, Tensor]:
    """All tensors of a dataclass and of those inside it, also in tuples, by their paths ("text.context", "of.0.a")."""
    found: dict[str, Tensor] = {}
    for field in dataclasses.fields(tree):
        value, name = getattr(tree, field.name), prefix + field.name
        if isinstance(value, Tensor):
            found[name] = value
        elif dataclasses.is_dataclass(value):
            found |= tensors_of(value, name + ".")
        elif isinstance(value, tuple):
            for place, part in enumerate(value):
                if dataclasses.is_dataclass(part):
                    found |= tensors_of(part, f"{name}.{place}.")
    return found


def with_tensors(tree: Tree, tensors: Mapping[str, Tensor], prefix: str = "") -> Tree:
    """The same dataclass, its tensors replaced by those of these names; what else it holds stays."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(tree):  # pyright: ignore[reportArgumentType]
        value, name = getattr(tree, field.name), prefix + field.name
        if isinstance(value, Tensor):
            changed[field.name] = tensors[name]
        elif dataclasses.is_dataclass(value):
            changed[field.name] = with_tensors(value, tensors, name + ".")
        elif isinstance(value, tuple):
            changed[field.name] = tuple(
                with_tensors(part, tensors, f"{name}.{place}.") if dataclasses.is_dataclass(part) else part
                for place, part in enumerate(value)
            )
    return dataclasses.replace(tree, **changed)  # pyright: ignore[reportArgumentType, reportCallIssue]
