"""Help: a page for every node that names all that it has, and a troubleshooting page that quotes what the code says."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HELP = ROOT / "web" / "docs"
SHORT = 8  # letters; a shorter piece of a quoted sentence says nothing


def texts_of(path: Path) -> list[str]:
    """Every string of a file; of one with places to fill in, the text with "…" for each of them."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.fixture(scope="module")
def code() -> str:
    files = [*sorted((ROOT / "handrawer").rglob("*.py")), *sorted((ROOT / "nodes").rglob("*.py"))]
    return "\n".join(text for path in files for text in texts_of(path))


def quoted(page: str) -> list[str]:
    """The sentences in the first column of the page's tables of errors."""
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| *")]
    return [sentence for row in rows for sentence in re.findall(r"\*([^*]+)\*", row)]


def unknown_pieces(sentence: str, code: str) -> list[str]:
    """Pieces between "…" that no string of the code has; the input that a node names first may be filled in there."""
    pieces = [piece.strip(" .:…'") for piece in sentence.split("…")]
    known = [piece in code or re.sub(r"^\w+: ", "", piece) in code for piece in pieces]
    return [p for p, k in zip(pieces, known, strict=True) if sum(map(str.isalpha, p)) >= SHORT and not k]


def test_the_troubleshooting_page_quotes_what_the_code_says(code):
    sentences = quoted((ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"))
    assert len(sentences) > 80
    wrong = {sentence: unknown_pieces(sentence, code) for sentence in sentences}
    assert {sentence: pieces for sentence, pieces in wrong.items() if pieces} == {}


def test_an_invented_quotation_is_seen(code):
    assert unknown_pieces("… has gone for a walk: …", code) == ["has gone for a walk"]


def nodes() -> dict:
    """What the nodes have; tests/nodes/test_locales.py holds it against the nodes themselves."""
    return json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("node", nodes())
def test_a_nodes_help_page_names_all_that_it_has(node):
    parts = nodes()[node]
    page = (HELP / f"{node}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {parts['display_name']}\n")
    named = set(re.findall(r"\*\*([^*]+)\*\*", page))
    wanted = [part["name"] for kind in ("inputs", "outputs") for part in parts.get(kind, {}).values()]
    assert [name for name in wanted if name not in named] == []
    assert f"](images/{node}.webp)" in page and (HELP / "images" / f"{node}.webp").stat().st_size < 40_000


def test_no_help_page_is_left_over():
    pages = {page.relative_to(HELP).parts[0].removesuffix(".md") for page in HELP.rglob("*.md")}
    assert pages == set(nodes()) == {picture.stem for picture in (HELP / "images").iterdir()}


def test_links_in_help_pages_lead_somewhere():
    pages = [*HELP.rglob("*.md")]
    assert pages
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://", "/")):
                assert (HELP / target).exists(), f"{page.name} links to {target}"
