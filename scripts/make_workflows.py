"""Writes workflows/*.json, the templates that ComfyUI lists, and the thumbnails beside them.

    python scripts/make_workflows.py http://127.0.0.1:8188 [--thumbnails] [--only WORD ...]

A running ComfyUI with this project in it is asked what inputs and outputs its nodes have, so that the files agree with
the nodes. For the thumbnails it runs the workflows. scripts/shoot_workflow.mjs opens a file in the real page.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from workflows.files import build, to_text  # noqa: E402
from workflows.host import draw_thumbnail, fetch_nodes  # noqa: E402
from workflows.thumbnails import save_small  # noqa: E402

from workflows import any_model, chained, mini, posed  # noqa: E402  # pyright: ignore[reportAttributeAccessIssue]

WORKFLOWS = {**any_model.WORKFLOWS, **chained.WORKFLOWS, **mini.WORKFLOWS, **posed.WORKFLOWS}


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes workflows/*.json and their thumbnails.")
    parser.add_argument("address", help="of a running ComfyUI with this project in it")
    parser.add_argument("--thumbnails", action="store_true", help="run the workflows and draw their thumbnails")
    parser.add_argument("--only", nargs="*", default=[], help="only workflows with one of these words in their name")
    arguments = parser.parse_args()
    address = arguments.address.rstrip("/")
    infos = fetch_nodes(address)
    for name, workflow in WORKFLOWS.items():
        if arguments.only and not any(word in name for word in arguments.only):
            continue
        path = ROOT / "workflows" / f"{name}.json"
        path.write_text(to_text(build(name, workflow, infos)), encoding="utf-8")
        print(path, flush=True)
        if arguments.thumbnails:
            save_small(draw_thumbnail(address, workflow), str(path.with_suffix(".jpg")))
            print(path.with_suffix(".jpg"), flush=True)


if __name__ == "__main__":
    main()
