"""Files of hands in the host's folders: which there are, read, and written beside each other."""

import hashlib
import os
from pathlib import Path

import folder_paths

FROM_TEXT = "(from text)"
OUTPUT = " [output]"  # how the host marks names of its output folder


def hand_files() -> list[str]:
    """Names of the ``.json`` files in the host's input folder, then in its output folder, where Save Hands writes.

    The folders in those are looked through too, but not the folders in them: the page asks often.
    """
    found = sorted(_below(folder_paths.get_input_directory()))
    return found + [name + OUTPUT for name in sorted(_below(folder_paths.get_output_directory()))]


def _below(place: str, inside: str = "") -> list[str]:
    names = []
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if not inside and entry.is_dir():
                    names += _below(entry.path, f"{entry.name}/")
                elif entry.name.lower().endswith(".json") and entry.is_file():
                    names.append(inside + entry.name)
    except OSError:  # not there, or not ours to read
        return []
    return names


def read_text(name: str) -> str:
    """The content of one of ``hand_files``.

    Raises:
        ValueError: it has gone, or is not text.
    """
    path = Path(folder_paths.get_annotated_filepath(name))
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} cannot be read: {error}.") from error


def content_mark(name: str) -> str:
    """Changes whenever the file does."""
    path = Path(folder_paths.get_annotated_filepath(name))
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def write_beside(prefix: str, content: str | bytes, width: int, height: int, suffix: str = ".json") -> str:
    """Write a file of the next free number into the host's output folder, as its own nodes number pictures.

    Args:
        prefix: name, with folders and the host's %date% words if wanted.
        content: text is written as UTF-8.
        width, height: what %width% and %height% stand for.
        suffix: how the file's name ends.

    Returns:
        The file's name below the output folder.

    Raises:
        ValueError: the prefix leads out of the output folder, or names no file.
    """
    output = folder_paths.get_output_directory()
    inside = os.path.relpath(os.path.join(output, prefix), output)
    if inside == os.curdir or inside.split(os.sep)[0] == os.pardir or prefix.endswith(("/", os.sep)):
        raise ValueError(f"{prefix!r} is no name of a file in ComfyUI's output folder; write one like hands/mine.")
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, output, width, height)
    while True:
        path = Path(folder) / f"{name}_{counter:05}_{suffix}"
        try:
            with path.open("xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            return path.relative_to(Path(output)).as_posix()
        except FileExistsError:  # another queue took the number
            counter += 1
