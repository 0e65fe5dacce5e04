"""Draws the pictures of the pose library: web/poses.webp, which the library's node cuts its picture from.

    python scripts/draw_poses.py [--sheet PICTURE.png]

``--sheet`` also draws all poses with their names, both sides, for a person to look at.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from handrawer.hand.library import LibraryPose, frame_from_pose, library  # noqa: E402
from handrawer.render.overlay import draw_overlay  # noqa: E402
from handrawer.render.pictures import save_picture, sheet, to_pil  # noqa: E402

COLUMNS, CELL = 11, 96  # as in web/js/pose_chooser.js
BACKGROUND = 0.16


def picture(pose: LibraryPose, side: str, pixels: int) -> torch.Tensor:
    """[pixels, pixels, 3]."""
    frame = frame_from_pose(pose, side, pixels, pixels, size=0.86)
    below = torch.full((1, pixels, pixels, 3), BACKGROUND)
    return draw_overlay(below, frame, opacity=1.0, badges=False)[0]


def draw_sheet() -> torch.Tensor:
    """[1, H, W, 3]: all right hands in rows, nothing between them."""
    cells = [picture(pose, "right", CELL) for pose in library().values()]
    cells += [torch.full((CELL, CELL, 3), BACKGROUND)] * (-len(cells) % COLUMNS)
    rows = [torch.cat(cells[start : start + COLUMNS], dim=1) for start in range(0, len(cells), COLUMNS)]
    return torch.cat(rows)[None]


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the pictures of the pose library.")
    parser.add_argument("--sheet", help="also draw all poses with their names, both sides")
    arguments = parser.parse_args()
    to_pil(draw_sheet()).save(ROOT / "web" / "poses.webp", quality=82, method=6)
    if arguments.sheet:
        both = [(pose, side) for pose in library().values() for side in ("right", "left")]
        pictures = [picture(pose, side, 150) for pose, side in both]
        save_picture(arguments.sheet, sheet(pictures, 12, [pose.name for pose, _ in both], cell=150))


if __name__ == "__main__":
    main()
