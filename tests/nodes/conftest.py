"""A small model with random weights, and what the host makes of it."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.nodes.random_mini import write_mini


@pytest.fixture(scope="session")
def mini_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def nodes(plugin: ModuleType):
    """`nodes("mini_model")` is the module nodes/mini_model.py, imported as the host would."""
    return lambda name: importlib.import_module(f"{plugin.__name__}.nodes.{name}")


@pytest.fixture(scope="session")
def mini(nodes, mini_folder: Path):
    """(MODEL, CLIP, VAE) of the host for the random small model."""
    with torch.inference_mode():
        return nodes("mini_model").load_mini(mini_folder)
