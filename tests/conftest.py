"""What the tests of the canvas need: the host's code in this process, and this project as the host would load it.

Everything else is tested without a host: `import handrawer`.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.host.start_host import declare_torchvision_operators

ROOT = Path(__file__).resolve().parent.parent
# Before anything imports diffusers or transformers, which import torchvision where it is installed.
declare_torchvision_operators()

PLUGIN = "handrawer_plugin"  # the host gives the pack a module name of its own; so do the tests


def checkout() -> Path | None:
    """A ComfyUI checkout: $COMFYUI_PATH, else ~/ComfyUI, else the one that this project is installed in."""
    given = os.environ.get("COMFYUI_PATH")
    if given:
        return Path(given)
    for place in (Path.home() / "ComfyUI", ROOT.parent.parent):
        if (place / "main.py").is_file() and (place / "comfy").is_dir():
            return place
    return None


def import_host() -> Path:
    """Make `comfy` importable here, on the CPU.

    Raises:
        ImportError: there is no checkout, or this Python lacks what it needs.
    """
    place = checkout()
    if place is None:
        raise ImportError("no ComfyUI checkout: set COMFYUI_PATH, or clone ComfyUI to ~/ComfyUI")
    if str(place) not in sys.path:
        # First: the host has a module `nodes`, and so has this project.
        sys.path.insert(0, str(place))
    import comfy.cli_args  # pyright: ignore[reportMissingImports]

    comfy.cli_args.args.cpu = True
    import comfy.sd  # pyright: ignore[reportMissingImports]

    # As the host's main does: its nodes put a folder with another `utils` on the path.
    import utils.extra_config  # noqa: F401  # pyright: ignore[reportMissingImports]

    return place


def import_plugin() -> ModuleType:
    """This project as a package of another name, as the host imports it."""
    if PLUGIN not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PLUGIN, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[PLUGIN] = module
        spec.loader.exec_module(module)
    return sys.modules[PLUGIN]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With pytest-xdist (`-n 2 --dist loadgroup`) a file's tests stay together, and so do all that share the server.

    A scheduler of our own, as groups told by marks have no effect with pytest 9.2 and pytest-xdist 3.8.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            folder = file.rpartition("/")[0]
            return folder if folder in ("tests/host", "tests/browser") else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def plugin() -> ModuleType:
    """The project under another name, with the host's code importable; skipped where there is no host."""
    try:
        import_host()
    except ImportError as error:
        pytest.skip(f"ComfyUI's code cannot be imported here: {error}")
    return import_plugin()
