"""Writes down what a release is, which later ones must stay true to.

Its nodes go to tests/nodes/released/VERSION.json, its workflows to tests/host/released/VERSION/.

    COMFYUI_PATH=CHECKOUT python scripts/freeze_nodes.py VERSION [--of FOLDER]

--of names a checkout of an older release (`git worktree add FOLDER v0.2.0`). A file that is there is not written over:
it is a promise. tests/nodes/test_stability.py says what a later release may change; tests/host and tests/browser load
the workflows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))

from node_infos import ROOT, inputs_of, load

KEPT = ("default", "min", "max", "step", "multiline")
RELEASED = ROOT / "tests" / "nodes" / "released"
WORKFLOWS = ROOT / "tests" / "host" / "released"


def signature(info: dict[str, Any]) -> dict[str, Any]:
    """What saved workflows rely on in a node, fit for JSON.

    Returns:
        inputs: in their order, each with name, type, whether it is required, its choices and its limits and default;
        outputs: in their order, each with id, name, type, and whether it is a list.
    """
    inputs = []
    for name, (kind, options, required) in inputs_of(info).items():
        choices = kind if isinstance(kind, list) else options.get("options")
        inputs.append(
            {
                "name": name,
                "type": "COMBO" if isinstance(kind, list) else kind,
                "required": required,
                **({} if choices is None else {"options": list(choices)}),
                **{option: options[option] for option in KEPT if options.get(option) is not None},
            }
        )
    columns = zip(info["output_id"], info["output_name"], info["output"], info["output_is_list"], strict=True)
    outputs = [{"id": key, "name": name, "type": kind, "list": many} for key, name, kind, many in columns]
    return {"inputs": inputs, "outputs": outputs}


def signatures(infos: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {node: signature(info) for node, info in infos.items()}


def to_text(found: dict[str, Any]) -> str:
    """One line for each input and output, so that a difference can be read."""
    nodes = []
    for node, parts in found.items():
        lines = [
            f'    "{part}": [\n' + ",\n".join(f"      {json.dumps(entry)}" for entry in parts[part]) + "\n    ]"
            if parts[part]
            else f'    "{part}": []'
            for part in ("inputs", "outputs")
        ]
        nodes.append(f'  "{node}": {{\n' + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(nodes) + "\n}\n"


def keep_workflows(source: Path, target: Path) -> list[Path]:
    """Copies of a release's workflows, without their thumbnails.

    Raises:
        FileExistsError: some are kept already.
    """
    target.mkdir(parents=True)
    return [Path(shutil.copy(file, target / file.name)) for file in sorted(source.glob("*.json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes down what a release's nodes and workflows are.")
    parser.add_argument("version")
    parser.add_argument("--of", type=Path, default=ROOT, help="a checkout of that release; default: this one")
    arguments = parser.parse_args()
    of = arguments.of.resolve()
    path, folder = RELEASED / f"{arguments.version}.json", WORKFLOWS / arguments.version
    for place in (path, folder):
        if place.exists():
            sys.exit(f"{place} is there already; remove it first if that release is not out yet.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_text(signatures(load(of))), encoding="utf-8", newline="\n")
    print(path, *keep_workflows(of / "workflows", folder), sep="\n")


if __name__ == "__main__":
    main()
