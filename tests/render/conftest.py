"""Makes `scenes` importable beside the tests (importlib mode does not put test folders on the path)."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch


def _load():
    spec = importlib.util.spec_from_file_location("render_scenes", Path(__file__).with_name("scenes.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["render_scenes"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def scenes():
    return _load()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)
