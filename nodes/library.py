"""Nodes for named poses: the library that ships, and one's own."""

from pathlib import Path

import comfy.model_management as mm
import folder_paths
import torch
from comfy_api.latest import io, ui

from ..handrawer.hand.hands import SIDES, Hands
from ..handrawer.hand.library import (
    LibraryPose,
    describe_pose,
    dump_pose,
    frame_from_pose,
    library,
    parse_pose,
    plain,
    pose_of_hand,
    search,
    split_words,
)  # fmt: skip
from . import notes, placing, types
from .outputs import MAX_SIDE, SOURCES, hands_output, note_output

FOLDER = "handrawer_poses"  # below the host's user folder, where Save Pose writes, and below its input folder
MINE = " (mine)"
FIRST = "(first that the search finds)"
_PREVIEW_SIDE = 256  # pixels


class HanDrawerPoseLibrary(io.ComfyNode):
    """A named pose at a place in a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerPoseLibrary",
            display_name="Hand Pose Library",
            category=SOURCES,
            description=(
                "One hand in a pose of the library, or in one of your own that Save Hand Pose kept, where and as large "
                "as you want it, seen as the pose is seen best."
            ),
            inputs=[
                io.String.Input(
                    "search", default="",
                    tooltip="Words of the name or tags, like count, hold, greeting, play: shortens the list below.",
                ),
                io.Combo.Input("pose", options=[FIRST, *pose_names()], default="peace", tooltip="What the hand does."),
                io.Combo.Input(
                    "side", options=sorted(SIDES, reverse=True), tooltip="The person's own left or right hand."
                ),
                io.Float.Input(
                    "x", default=0.5, min=-1.0, max=2.0, step=0.01,
                    tooltip="Middle of the hand, from the picture's left (0) to its right (1).",
                ),
                io.Float.Input(
                    "y", default=0.5, min=-1.0, max=2.0, step=0.01,
                    tooltip="Middle of the hand, from the picture's top (0) to its bottom (1).",
                ),
                io.Float.Input(
                    "size", default=0.7, min=0.01, max=4.0, step=0.01,
                    tooltip="The hand's longer side, as a share of the picture's shorter side.",
                ),
                io.Float.Input(
                    "yaw", default=0.0, min=-180.0, max=180.0, step=1.0,
                    tooltip="Degrees to turn the hand further about its upright axis. 180 shows its other side.",
                ),
                io.Float.Input(
                    "pitch", default=0.0, min=-180.0, max=180.0, step=1.0,
                    tooltip="Degrees to lean the upper end of the hand towards the viewer.",
                ),
                io.Float.Input(
                    "roll", default=0.0, min=-180.0, max=180.0, step=1.0,
                    tooltip="Degrees to turn the hand clockwise in the picture.",
                ),
                io.Int.Input(
                    "width", default=512, min=8, max=MAX_SIDE, step=8, tooltip="Width of the picture, in pixels."
                ),
                io.Int.Input(
                    "height", default=512, min=8, max=MAX_SIDE, step=8, tooltip="Height of the picture, in pixels."
                ),
            ],
            outputs=[
                hands_output("One hand in one picture; it serves every picture of a batch."),
                io.String.Output(id="pose_out", display_name="pose", tooltip="The name of the pose that was taken."),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, pose: str, search: str = "") -> bool | str:
        """A pose of one's own may be newer than the page's list, or come with another's workflow."""
        if pose is None or pose == FIRST or pose in library() or pose in own_poses():
            return True
        return (
            f"pose: {pose!r} is not in the library; choose another one, or put its file into the folder {FOLDER} of "
            "ComfyUI's user or input folder."
        )

    @classmethod
    def fingerprint_inputs(cls, pose: str = "", search: str = "", **kwargs) -> str:
        path = own_poses().get(pose or "")
        changed = "" if path is None else f"{path.stat().st_mtime_ns} {path.stat().st_size}"
        return f"{pose} {search} {changed} {len(own_poses()) if pose == FIRST else ''} {sorted(kwargs.items())}"

    @classmethod
    def execute(
        cls, search: str, pose: str, side: str, x: float, y: float, size: float, yaw: float, pitch: float, roll: float,
        width: int, height: int,
    ) -> io.NodeOutput:  # fmt: skip
        with torch.inference_mode(False), torch.no_grad():
            key, chosen, note = choose(pose, search)
            frame = frame_from_pose(
                chosen, side, width, height, centre=(x, y), size=size, turn=(float(yaw), float(pitch), float(roll))
            )
            hands = Hands((frame,))
            shown = picture_of(chosen, side)
        return io.NodeOutput(hands, key, note, ui=ui.PreviewImage(shown.to(mm.intermediate_device()), cls=cls))


class HanDrawerSavePose(io.ComfyNode):
    """A hand's pose into the library."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerSavePose",
            display_name="Save Hand Pose",
            category=SOURCES,
            description=(
                f"Keeps a hand's pose as a small file in ComfyUI's user folder, below {FOLDER}; Hand Pose Library "
                "lists it after the page's node definitions are refreshed (key r). Nothing is ever overwritten."
            ),
            is_output_node=True,
            inputs=[
                types.Hands.Input("hands", tooltip="Where the hand is: from a photo, or from the poser."),
                io.Int.Input(
                    "hand", default=0, min=0, max=99,
                    tooltip="The number of the hand in the first picture, as the overlay shows it.",
                ),
                io.String.Input(
                    "name", default="my_pose", tooltip="Letters, digits, _ and -. Where it is taken, a number is added."
                ),
                io.String.Input("tags", default="mine", tooltip="Words to find it by, with spaces or commas between."),
            ],
            outputs=[
                io.String.Output(id="pose_out", display_name="pose", tooltip="Its name in Hand Pose Library."),
                io.String.Output(id="text_out", display_name="text", tooltip="What was written, to pass it on."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, hands: Hands, hand: int, name: str, tags: str) -> io.NodeOutput:
        frame = hands.frames[0] if hands.frames else None
        if frame is None or not frame.hands:
            raise ValueError("hands: there is no hand in the first picture to keep the pose of; connect one.")
        chosen = placing.choose(Hands((frame,)), hand).frames[0].hands[0]
        with torch.inference_mode(False), torch.no_grad(), placing.named("name"):
            pose = pose_of_hand(chosen, name.strip(), tags=split_words(tags))
        path = write_pose(pose)
        shown = picture_of(parse_pose(path.read_text(encoding="utf-8")), chosen.side)
        return io.NodeOutput(path.stem + MINE, path.read_text(encoding="utf-8"), ui=ui.PreviewImage(shown, cls=cls))


def own_poses() -> dict[str, Path]:
    """One's own poses: the name in the list, and the file; those of the user folder before those of the input's."""
    found: dict[str, Path] = {}
    for place in (folder_paths.get_user_directory(), folder_paths.get_input_directory()):
        folder = Path(place) / FOLDER
        if folder.is_dir():
            for path in sorted(folder.glob("*.json")):
                found.setdefault(path.stem + MINE, path)
    return found


def pose_names() -> list[str]:
    """The poses that ship, then one's own."""
    return [*library(), *own_poses()]


def choose(name: str, words: str) -> tuple[str, LibraryPose, str]:
    """The pose of that name, or the first that the words find; its name in the list; and what there is to say.

    Raises:
        ValueError: none is found; its file is gone or holds no pose.
    """
    own = own_poses()
    if name != FIRST:
        return name, _read(name, own), ""
    poses = {key: _read(key, own) for key in pose_names()}
    found = search(poses.values(), words)
    if not found:
        raise ValueError(f"search: no pose is found by {words!r}; use fewer words, or clear it.")
    keys = [key for key, pose in poses.items() if pose in found]
    return keys[0], poses[keys[0]], f"{len(keys)} poses are found: {', '.join(keys)}."


def _read(name: str, own: dict[str, Path]) -> LibraryPose:
    if name in library():
        return library()[name]
    if name not in own:
        raise ValueError(f"pose: {name!r} is not in the library any more; choose another one.")
    with placing.named(f"pose: {own[name].name}"):
        return parse_pose(own[name].read_text(encoding="utf-8-sig"))


def write_pose(pose: LibraryPose) -> Path:
    """A new file in the user folder; with a number behind the name where that is taken."""
    folder = Path(folder_paths.get_user_directory()) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    text, number = dump_pose(pose), 1
    while True:
        path = folder / f"{pose.name if number == 1 else f'{pose.name}_{number}'}.json"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            return path
        except FileExistsError:
            number += 1


def picture_of(pose: LibraryPose, side: str, pixels: int = _PREVIEW_SIDE) -> torch.Tensor:
    """[1, pixels, pixels, 3]: how the library shows a pose."""
    from ..handrawer.render.overlay import draw_overlay

    frame = frame_from_pose(pose, side, pixels, pixels, size=0.86)
    return draw_overlay(torch.full((1, pixels, pixels, 3), 0.16), frame, opacity=1.0, badges=False)


def listed() -> list[dict]:
    """The library as the page reads it: what ``describe_pose`` says, and its place on the sheet of pictures; own ones
    at last, without a place."""
    found = [{**describe_pose(pose), "place": place} for place, pose in enumerate(library().values())]
    for name, path in own_poses().items():
        try:
            pose = parse_pose(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:  # the others shall be listed all the same
            notes.logger.warning("HanDrawer: %s is no pose: %s", path, error)
            continue
        described = describe_pose(pose)
        found.append({**described, "name": name, "place": None, "words": f"{described['words']} {plain(name)}"})
    return found
