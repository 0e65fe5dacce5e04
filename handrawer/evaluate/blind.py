"""A blind comparison by people: a page with pairs of pictures in unknown order, and what its answers say.

The page holds its pictures in itself, so that no file name tells which is which. The key, which does, lies beside it
and is for whoever counts the answers.
"""

from __future__ import annotations

import hashlib
import html
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..render.pictures import load_picture, to_pil
from .folder_report import data_uri, wilson
from .folders import pictures_of

FORMAT_KEY, FORMAT_ANSWERS = "handrawer-blind-key", "handrawer-blind-answers"
QUESTION = "In which picture is the hand better: built like a real one, and drawn well?"
CHOICES = ("left", "right", "equal")


@dataclass(frozen=True)
class Preference:
    """What raters preferred."""

    a: str
    b: str
    wins_a: int
    wins_b: int
    equal: int
    raters: int

    @property
    def share(self) -> float:
        """Of the answers that preferred one, those for A; NaN where none did."""
        decided = self.wins_a + self.wins_b
        return self.wins_a / decided if decided else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % (Wilson), answers taken as independent."""
        return wilson(self.wins_a, self.wins_a + self.wins_b)

    def words(self) -> str:
        """For a reader."""
        total = self.wins_a + self.wins_b + self.equal
        if not self.wins_a + self.wins_b:
            return f"{total} answers of {self.raters} raters, none of which preferred either folder."
        low, high = self.interval
        sure = "neither is preferred" if low <= 0.5 <= high else f"{self.a if low > 0.5 else self.b} is preferred"
        return (
            f"{self.a} was preferred in {100 * self.share:.1f} % of the {self.wins_a + self.wins_b} answers that chose "
            f"(95 %: {100 * low:.1f} to {100 * high:.1f} %, Wilson; {self.wins_a} : {self.wins_b}), {self.equal} of "
            f"{total} saw no difference, {self.raters} raters: {sure}."
        )


def pairs_of(a: Path, b: Path) -> list[tuple[Path, Path]]:
    """The pictures of two folders that have the same name.

    Raises:
        FileNotFoundError: a folder has no pictures.
        ValueError: no name is in both.
    """
    first = {path.relative_to(a).with_suffix("").as_posix(): path for path in pictures_of(a)}
    second = {path.relative_to(b).with_suffix("").as_posix(): path for path in pictures_of(b)}
    both = sorted(first.keys() & second.keys())
    if not both:
        raise ValueError(f"{a} and {b} have no pictures of the same name: pairs are made by name.")
    return [(first[name], second[name]) for name in both]


def write_page(
    a: Path, b: Path, out: Path, *, seed: int = 0, question: str = QUESTION, longest: int = 640, limit: int = 0
) -> tuple[Path, int]:
    """Write the page and its key.

    Args:
        a, b: folders whose pictures of the same name make pairs.
        out: the page; the key is written beside it as NAME.key.json.
        seed: of the order of pairs and of the sides.
        longest: pixels, of a picture on the page.
        limit: at most so many pairs, chosen by the seed; 0 takes all.

    Returns:
        The key's path, and how many pairs there are.
    """
    chance = random.Random(seed)
    pairs = pairs_of(a, b)
    chance.shuffle(pairs)
    pairs = pairs[:limit] if limit else pairs
    # Each folder lies on the left in half of the pairs, so that a rater who likes one side prefers neither.
    sides = [place % 2 == 0 for place in range(len(pairs))]
    chance.shuffle(sides)
    rows, key = [], {}
    for (first, second), a_left in zip(pairs, sides, strict=True):
        name = hashlib.sha256(f"{seed} {first.relative_to(a)}".encode()).hexdigest()[:12]
        left, right = (first, second) if a_left else (second, first)
        rows.append({"id": name, "left": _shown(left, longest), "right": _shown(right, longest)})
        key[name] = {"left": "a" if a_left else "b", "name": first.relative_to(a).with_suffix("").as_posix()}
    page = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    key_file = out.with_name(f"{out.stem}.key.json")
    told = {"format": FORMAT_KEY, "version": 1, "page": page, "a": str(a), "b": str(b), "pairs": key}
    out.parent.mkdir(parents=True, exist_ok=True)
    key_file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    text = _PAGE.replace("@QUESTION@", html.escape(question)).replace("@PAGE@", json.dumps(page))
    out.write_text(text.replace("@PAIRS@", json.dumps(rows)), encoding="utf-8")
    return key_file, len(rows)


def _shown(path: Path, longest: int) -> str:
    image = to_pil(load_picture(path)[0])
    image.thumbnail((longest, longest))
    return data_uri(image, 90)


def count_answers(files: Sequence[Path], key_file: Path) -> Preference:
    """What the answers of one or several raters say.

    Raises:
        ValueError: a file is no such thing, or belongs to another page.
    """
    key = _read(key_file, FORMAT_KEY)
    wins: Counter[str] = Counter()
    raters = set()
    for file in files:
        answers = _read(file, FORMAT_ANSWERS)
        if answers.get("page") != key["page"]:
            raise ValueError(f"{file} answers another page than the one that {key_file} belongs to.")
        raters.add(str(answers.get("rater") or file))
        for name, choice in answers.get("answers", {}).items():
            if name not in key["pairs"] or choice not in CHOICES:
                raise ValueError(f"{file}: {name!r} with the answer {choice!r} is no pair of this page.")
            left = key["pairs"][name]["left"]
            other = {"a": "b", "b": "a"}[left]
            wins[{"left": left, "right": other, "equal": "equal"}[choice]] += 1
    return Preference(key["a"], key["b"], wins["a"], wins["b"], wins["equal"], len(raters))


def _read(file: Path, wanted: str) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read ({error}).") from error
    if not isinstance(data, dict) or data.get("format") != wanted:
        what = "key of a blind page" if wanted == FORMAT_KEY else "file of answers from a blind page"
        raise ValueError(f"{file} is no {what}.")
    return data


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Which is better?</title><style>
:root { color-scheme: light dark; --ink: #1c2128; --back: #f4f5f7; --card: #fff; --soft: #667; --line: #d8dce3;
  --go: #1a5fb4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --back: #15181c; --card: #1f242b; --soft: #9aa3b0;
  --line: #343b45; --go: #78aeed; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); margin: 0; padding: 18px;
  min-height: 100vh; box-sizing: border-box; display: flex; flex-direction: column; align-items: center; gap: 14px; }
h1 { font-size: 18px; margin: 0; text-align: center; } .soft { color: var(--soft); margin: 0; text-align: center; }
#pair { display: flex; gap: 18px; justify-content: center; width: 100%; }
#pair button { flex: 1 1 0; max-width: 640px; padding: 8px; }
#pair img { width: 100%; max-height: 58vh; object-fit: contain; display: block; border-radius: 6px; }
button { font: inherit; color: inherit; background: var(--card); border: 2px solid var(--line); border-radius: 10px;
  padding: 8px 16px; cursor: pointer; }
button:hover { border-color: var(--soft); } button.chosen { border-color: var(--go); box-shadow: 0 0 0 2px var(--go); }
button:disabled { opacity: .45; cursor: default; }
.row { display: flex; gap: 12px; flex-wrap: wrap; justify-content: center; align-items: center; }
progress { width: min(520px, 80vw); accent-color: var(--go); }
#save { background: var(--go); border-color: var(--go); color: #fff; font-weight: 600; }
@media (prefers-color-scheme: dark) { #save { color: #10151b; } }
input { font: inherit; padding: 6px 10px; border-radius: 8px; border: 1px solid var(--line); background: var(--card);
  color: inherit; }
</style></head><body>
<h1>@QUESTION@</h1>
<p class="soft">Click the better picture, or use the keys ← and →; ↓ for no difference, Backspace to go back.</p>
<div id="pair"><button id="left" aria-label="left"><img alt="left picture"></button>
<button id="right" aria-label="right"><img alt="right picture"></button></div>
<div class="row"><button id="back">back</button><button id="equal">no difference</button></div>
<progress id="bar" value="0"></progress><p class="soft" id="count"></p>
<div class="row"><input id="rater" placeholder="your name or initials" aria-label="your name or initials">
<button id="save" disabled>Download answers.json</button></div>
<script>
const PAGE = @PAGE@, PAIRS = @PAIRS@, answers = {};
let at = 0;
const by = id => document.getElementById(id);
function show() {
  const pair = PAIRS[Math.min(at, PAIRS.length - 1)], done = Object.keys(answers).length;
  by("left").firstChild.src = pair.left; by("right").firstChild.src = pair.right;
  for (const side of ["left", "right", "equal"]) by(side).classList.toggle("chosen", answers[pair.id] === side);
  by("bar").max = PAIRS.length; by("bar").value = done;
  by("count").textContent = done < PAIRS.length ? `pair ${at + 1} of ${PAIRS.length}`
    : "All pairs are answered. Thank you: download your answers and send them back.";
  by("back").disabled = at === 0; by("save").disabled = done === 0;
}
function choose(side) {
  answers[PAIRS[at].id] = side;
  if (at < PAIRS.length - 1) at += 1;
  show();
}
for (const side of ["left", "right", "equal"]) by(side).addEventListener("click", () => choose(side));
by("back").addEventListener("click", () => { at = Math.max(0, at - 1); show(); });
document.addEventListener("keydown", event => {
  if (event.target === by("rater")) return;
  const side = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal" }[event.key];
  if (side) { event.preventDefault(); choose(side); }
  if (event.key === "Backspace") { at = Math.max(0, at - 1); show(); }
});
by("save").addEventListener("click", () => {
  const text = JSON.stringify({ format: "handrawer-blind-answers", version: 1, page: PAGE, rater: by("rater").value,
    answers }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "answers.json"; link.click();
});
show();
</script></body></html>
"""
