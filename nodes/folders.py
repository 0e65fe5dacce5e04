"""Where the host looks for HanDrawer files, and what lies in the project's own folders."""

from pathlib import Path

import folder_paths

MINI = "HanDrawer mini (comes with HanDrawer)"
FOLDER = "handrawer"  # key for extra_model_paths.yaml, and the folder below models/
PROJECT = Path(__file__).resolve().parent.parent
EXAMPLES = PROJECT / "handrawer" / "examples"
MINI_WEIGHTS = PROJECT / "handrawer" / "mini" / "weights"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def register() -> None:
    """Make ``models/handrawer`` known to the host; a path of the user's extra_model_paths.yaml stays first."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    folder_paths.folder_names_and_paths[FOLDER][1].add(".safetensors")


def example_pictures() -> list[str]:
    """Names of the pictures which come with the project, sorted."""
    if not EXAMPLES.is_dir():
        return []
    return sorted(path.name for path in EXAMPLES.iterdir() if path.suffix.lower() in PICTURES)


def handrawer_file(name: str) -> str:
    """Path of a file of ``models/handrawer``, or of the small model's adapter under the name MINI.

    Raises:
        ValueError: it is gone.
    """
    path = str(MINI_WEIGHTS / "handrawer.safetensors") if name == MINI else folder_paths.get_full_path(FOLDER, name)
    if path is None:
        raise ValueError(f"{FOLDER}_name: {name} is not in models/{FOLDER} any more; put it back or choose another.")
    return path


def stamp(name: str) -> str:
    """Changes when the file changes, so that the host does not go on with what it has read before."""
    try:
        found = Path(handrawer_file(name)).stat()
    except (ValueError, OSError):
        return name  # reading it says what is wrong
    return f"{name} {found.st_size} {found.st_mtime_ns}"
