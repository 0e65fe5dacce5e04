"""What must be true of the repository as a whole: packaging, dependencies, imports, licences."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import handrawer

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "handrawer").rglob("*.py"))
PLUGIN = [ROOT / "__init__.py", *sorted((ROOT / "nodes").rglob("*.py"))]

# Import name -> name on PyPI, where they differ.
DISTRIBUTIONS = {"PIL": "pillow"}
# Needed by one extra or by no user: imported inside functions, with a message that says what to install.
EXTRAS = {
    "mediapipe": "mediapipe",
    "smplx": "mano",
    "accelerate": "train",
    "webdataset": "train",
    "torchmetrics": "evaluate",
}
HOST = {
    *("comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "latent_preview"),
    *("node_helpers", "server", "aiohttp"),
}
HEAVY = {
    *("mediapipe", "diffusers", "transformers", "accelerate", "scipy", "cv2", "smplx", "webdataset", "torchmetrics"),
}


def pyproject() -> str:
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def requirement_lines(name: str = "requirements.txt") -> list[str]:
    lines = (ROOT / name).read_text(encoding="ascii").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def requirement_names() -> set[str]:
    return {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in requirement_lines()}


def absolute_imports(path: Path) -> set[str]:
    """Top-level names of every absolute import in a file, wherever it stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def third_party(paths: list[Path]) -> set[str]:
    found = set().union(*(absolute_imports(path) for path in paths))
    return found - set(sys.stdlib_module_names)


def is_checkout() -> bool:
    return (ROOT / ".git").exists()


def tracked_files() -> list[str]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()]


def test_one_version():
    (declared,) = re.findall(r'^version = "(.+)"$', pyproject(), re.M)
    newest = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[0]
    assert handrawer.__version__ == declared == newest
    assert re.fullmatch(r"\d+\.\d+\.\d+", declared)


def test_requirements_suit_comfyui_manager():
    """The Manager gives each line to a `pip install` of its own: it must stand alone and leave the host's versions."""
    for line in requirement_lines():
        assert re.fullmatch(r"[A-Za-z0-9_-]+(>=\d+(\.\d+)*)?", line), line


def test_one_list_of_dependencies():
    text = pyproject()
    assert 'dynamic = ["dependencies"]' in text and 'dependencies = { file = ["requirements.txt"] }' in text
    assert not re.search(r"^dependencies = \[", text, re.M)
    assert "-r requirements.txt" in requirement_lines("requirements-dev.txt")
    for name, extra in EXTRAS.items():
        (listed,) = re.findall(rf'^{extra} = \[(".+")\]$', text, re.M)
        (line,) = (line for line in re.findall(r'"([^"]+)"', listed) if line.startswith(name))
        assert line in requirement_lines("requirements-dev.txt")


def test_every_import_is_a_requirement_and_every_requirement_is_imported():
    used = {DISTRIBUTIONS.get(name, name).lower() for name in third_party(LIBRARY)}
    assert used - set(EXTRAS) == requirement_names()
    assert {DISTRIBUTIONS.get(name, name).lower() for name in third_party(PLUGIN) - HOST} <= requirement_names()


def test_smplx_is_not_installed_unless_asked_for():
    assert "smplx" not in requirement_names()


def test_the_library_never_imports_the_host_or_itself_by_name():
    for path in LIBRARY:
        wrong = absolute_imports(path) & (HOST | {"handrawer", "nodes", "handrawer_plugin"})
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"
    for path in PLUGIN:
        assert not absolute_imports(path) & {"handrawer"}, path


def test_importing_the_library_loads_nothing_heavy():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in LIBRARY
        if path.name != "__main__.py"
    ]
    code = (
        f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\nprint({HEAVY!r} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


def test_nothing_is_unpickled_and_nothing_fetched():
    for path in [*LIBRARY, *PLUGIN]:
        text = path.read_text(encoding="utf-8")
        for call in ("pickle.load", "pickle.loads", "allow_pickle=True", "hf_hub_download", "urlopen", "requests.get"):
            assert call not in text, f"{call} in {path.relative_to(ROOT)}"
        for load in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in load, path


@pytest.mark.skipif(not is_checkout(), reason="not a git checkout")
def test_files_are_of_a_size_that_people_can_read_and_clone():
    names = tracked_files()
    total = sum((ROOT / name).stat().st_size for name in names)
    assert total < 64 * 2**20, f"the tree is {total / 2**20:.0f} MiB"
    for name in names:
        assert (ROOT / name).stat().st_size < 32 * 2**20, name
        if name.endswith(".py"):
            assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 500, name


@pytest.mark.skipif(not is_checkout(), reason="not a git checkout")
def test_json_files_are_json():
    for name in tracked_files():
        if name.endswith(".json"):
            json.loads((ROOT / name).read_text(encoding="utf-8"))


def test_licences():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (
        "Apache License" in licence
        and "Version 2.0, January 2004" in licence
        and "END OF TERMS AND CONDITIONS" in licence
    )
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for word in ("MakeHuman", "CC0", "MediaPipe", "independent implementation"):
        assert word in notice
    for path in re.findall(r"\((handrawer/[^)]+)\)", notice):
        assert (ROOT / path).is_file(), f"NOTICE speaks of {path}"


def test_readme_links_lead_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(<([^>]+)>", text) + re.findall(r"\]\(([^)#<\s]+)", text):
            if not target.startswith(("http://", "https://", "mailto:")):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """Names in the wheel that `pip install .` would install."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, since setuptools writes build/ and *.egg-info beside pyproject.toml.
    source = folder / "source"
    source.mkdir()
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), "."]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("handrawer-*.whl")
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()


@pytest.mark.skipif(not is_checkout(), reason="not a git checkout")
def test_pip_installs_the_library_alone(wheel):
    assert {name.split("/")[0] for name in wheel} == {"handrawer", f"handrawer-{handrawer.__version__}.dist-info"}


@pytest.mark.skipif(not is_checkout(), reason="not a git checkout")
def test_pip_installs_the_whole_library(wheel):
    missing = {name for name in tracked_files() if name.startswith("handrawer/")} - set(wheel)
    assert not missing
