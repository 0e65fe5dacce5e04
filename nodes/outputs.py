"""What the nodes' outputs are called, alike everywhere."""

from comfy_api.latest import io

from . import types

# The menus that the nodes lie in.
SOURCES = "HanDrawer/hands from"
PLACING = "HanDrawer/hands onto the picture"
PICTURES = "HanDrawer/pictures from hands"
STEERING = "HanDrawer"
MAX_SIDE = 16384  # the host's own limit for pictures


def hands_output(tooltip: str) -> io.Output:
    return types.Hands.Output(id="hands_out", display_name="hands", tooltip=tooltip)


def image_output(name: str, tooltip: str) -> io.Output:
    return io.Image.Output(id=f"{name}_out", display_name=name, tooltip=tooltip)


def note_output() -> io.Output:
    return io.String.Output(id="note_out", display_name="note", tooltip="What there is to say about it, or nothing.")
