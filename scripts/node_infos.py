"""What the nodes are, as ComfyUI tells its page: for the scripts that write down names and signatures.

Needs a Python that runs ComfyUI, and the checkout in COMFYUI_PATH (or ~/ComfyUI).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def describe(plugin: ModuleType) -> dict[str, dict[str, Any]]:
    """Every node of a loaded plugin by its id, in the order of the pack.

    Returns:
        What the host's /object_info says of each, and under "output_id" the ids of its outputs, which it leaves out.
    """
    nodes = importlib.import_module(f"{plugin.__name__}.nodes")
    nodes.folders.register()  # as the extension does when the host asks it for its nodes, but for its addresses
    nodes.mano.register()
    infos = {}
    for node in nodes.NODES:
        schema = node.GET_SCHEMA()
        outputs = [output.id for output in schema.outputs]
        infos[schema.node_id] = {**node.GET_NODE_INFO_V1(), "output_id": outputs}
    return infos


def inputs_of(info: dict[str, Any]) -> dict[str, tuple[Any, dict[str, Any], bool]]:
    """A node's inputs in the order in which the page lays them out and saves their values.

    Returns:
        For each name its type, or the list of choices; its options; and whether it must be given.
    """
    found = {}
    for group in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(group, {}).items():
            found[name] = (kind, options[0] if options else {}, group == "required")
    return found


def load(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Nodes of the checkout of this project in ``root``, which may be an older one.

    Raises:
        ImportError: no ComfyUI can be imported here.
    """
    sys.path.append(str(ROOT))
    from tests.conftest import import_host

    import_host()
    spec = importlib.util.spec_from_file_location(
        "handrawer_described", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec and spec.loader
    plugin = importlib.util.module_from_spec(spec)
    sys.modules["handrawer_described"] = plugin
    spec.loader.exec_module(plugin)
    return describe(plugin)
