"""A small model with random weights, and what the host makes of it."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.nodes.canvas import Canvas
from tests.nodes.random_mini import write_adapter, write_mini


@pytest.fixture(scope="session")
def mini_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def nodes(plugin: ModuleType):
    """`nodes("mini_model")` is the module nodes/mini_model.py, imported as the host would."""
    return lambda name: importlib.import_module(f"{plugin.__name__}.nodes.{name}")


@pytest.fixture(scope="session")
def host_nodes(plugin: ModuleType):
    """The host's module of core nodes, which is called like this project's package."""
    return importlib.import_module("nodes")


@pytest.fixture(scope="session")
def mini(nodes, mini_folder: Path):
    """(MODEL, CLIP, VAE) of the host for the random small model."""
    with torch.inference_mode():
        return nodes("mini_model").load_mini(mini_folder)


@pytest.fixture(scope="session")
def load_adapter(nodes, mini_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """`load_adapter(trained=..., negative_hand=...)` is a Network for the random small model."""

    def load(**options):
        path = tmp_path_factory.mktemp("adapter") / "random.safetensors"
        with torch.inference_mode(False):
            write_adapter(path, mini_folder, **options)
        return nodes("network").load_network(path)

    return load


@pytest.fixture(scope="session")
def nodes_package(plugin: ModuleType):
    """The package nodes/, with its folder registered as the host does."""
    package = importlib.import_module(f"{plugin.__name__}.nodes")
    importlib.import_module(f"{plugin.__name__}.nodes.folders").register()
    return package


@pytest.fixture(scope="session")
def windows(nodes):
    return nodes("windows")


@pytest.fixture(scope="session")
def sd15(nodes, tmp_path_factory: pytest.TempPathFactory) -> Canvas:
    return Canvas(nodes, "sd15", tmp_path_factory.mktemp("sd15") / "for_sd15.safetensors")


@pytest.fixture(scope="session")
def sdxl(nodes, tmp_path_factory: pytest.TempPathFactory) -> Canvas:
    return Canvas(nodes, "sdxl", tmp_path_factory.mktemp("sdxl") / "for_sdxl.safetensors")


@pytest.fixture(params=["sd15", "sdxl"], scope="module")
def canvas(request: pytest.FixtureRequest) -> Canvas:
    return request.getfixturevalue(request.param)
