"""Where the host looks for HanDrawer files, and what lies in the project's own folders."""

from pathlib import Path

import folder_paths

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
