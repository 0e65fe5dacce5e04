"""Scripts of this project as modules, and what in a node's description a saved workflow relies on."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def script(name: str) -> ModuleType:
    """A file of scripts/ as a module."""
    known = f"handrawer_script_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, SCRIPTS / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        spec.loader.exec_module(module)
    return sys.modules[known]
