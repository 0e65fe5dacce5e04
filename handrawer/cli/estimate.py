"""`python -m handrawer estimate IMAGE`: the hands in a picture, as JSON and as pictures."""

from __future__ import annotations

import argparse

from .files import new_folder, read_picture
from .finding import describe_hands, find_hands, write_json, write_maps
from .progress import import_libraries

MAPS = ("overlay", "depth", "normals", "parts", "skeleton", "mask")


def run(arguments: argparse.Namespace) -> int:
    """Find the hands and write hands.json and the six pictures. A picture without hands is no error."""
    if arguments.image.is_file():
        import_libraries("torch")
    picture = read_picture(arguments.image)
    hands = find_hands(picture, arguments)
    (frame,) = hands.frames
    folder = new_folder(arguments.out)
    write_json(folder / "hands.json", hands)
    write_maps(folder, picture, hands, MAPS)
    if frame.hands:
        print(describe_hands(frame.hands, frame.width, frame.height))
    else:
        print(f"No hand was found in {arguments.image}: the maps are black. {NO_HAND_ADVICE}")
    print(f"Written to {folder}: hands.json, " + ", ".join(f"{name}.png" for name in MAPS) + ".")
    return 0


NO_HAND_ADVICE = "--thoroughness thorough, a lower --min-confidence or a closer crop of the hand may help."
