"""The contact sheet: a page of its own, without a server, on which a person looks at pictures and overrules."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .atomic import atomic_file
from .layout import Layout

PER_PAGE = 600  # cards; a source with more gets several pages


@dataclass(frozen=True)
class Card:
    """One picture on the sheet."""

    key: str
    decision: str
    reasons: tuple[str, ...]
    text: str
    label: str
    thumb: str
    """Relative to the sheet; "" where there is nothing to see."""


def write_sheet(layout: Layout, counts: Mapping[str, int], cards: Iterable[Card]) -> list[str]:
    """Write index.html, and index2.html, ... where one page does not hold all cards; the names."""
    pages: list[list[Card]] = [[]]
    # Flagged pictures first: they are what a person is asked about.
    order = {"flag": 0, "drop": 1, "keep": 2}
    for card in sorted(cards, key=lambda card: order[card.decision]):
        if len(pages[-1]) == PER_PAGE:
            pages.append([])
        pages[-1].append(card)
    names = [_name(number) for number in range(len(pages))]
    for name, page in zip(names, pages, strict=True):
        with atomic_file(layout.out / name) as file:
            file.write(_page(page, counts, names, name).encode("utf-8"))
    number = len(names)
    while (layout.out / _name(number)).is_file():  # of an earlier run with more cards
        (layout.out / _name(number)).unlink()
        number += 1
    return names


def _name(number: int) -> str:
    return "index.html" if number == 0 else f"index{number + 1}.html"


def _page(cards: list[Card], counts: Mapping[str, int], names: list[str], here: str) -> str:
    reasons = sorted({reason for card in cards for reason in card.reasons})
    chips = "".join(
        f'<button class="chip" data-reason="{html.escape(reason)}">{html.escape(reason.replace("_", " "))} '
        f"<b>{sum(reason in card.reasons for card in cards)}</b></button>"
        for reason in reasons
    )
    pages = "".join(
        f'<a class="chip{" on" if name == here else ""}" href="{name}">page {place}</a>'
        for place, name in enumerate(names, 1)
    )
    head = f"{counts['keep']} kept, {counts['flag']} flagged (they stay in), {counts['drop']} dropped"
    return (
        _PAGE.replace("@HEAD@", head)
        .replace("@STYLE@", _STYLE)
        .replace("@SCRIPT@", _SCRIPT)
        .replace("@CHIPS@", f'<button class="chip on" data-reason="">all <b>{len(cards)}</b></button>' + chips)
        .replace("@PAGES@", f"<nav>{pages}</nav>" if len(names) > 1 else "")
        .replace("@CARDS@", "\n".join(map(_card, cards)))
        .replace("@STORE@", json.dumps(here))
    )


def _card(card: Card) -> str:
    key = html.escape(card.key, quote=True)
    picture = (
        f'<img loading="lazy" src="{html.escape(card.thumb, quote=True)}" alt="">'
        if card.thumb
        else '<div class="none">nothing to see</div>'
    )
    kept = card.decision != "drop"
    can_return = kept or not {"missing", "unreadable"} & set(card.reasons)
    box = (
        f'<label><input type="checkbox" data-key="{key}" data-was="{int(kept)}"{" checked" if kept else ""}> keep'
        "</label>"
        if can_return
        else '<label class="off">cannot be kept</label>'
    )
    marks = "".join(
        f'<span class="mark {card.decision}">{html.escape(r.replace("_", " "))}</span>' for r in card.reasons
    )
    marks = marks or '<span class="mark keep">no fault</span>'
    sure = (
        f'<button class="sure" data-key="{key}" title="It is fine as it is: the flag is taken off">it is fine</button>'
        if card.decision == "flag"
        else ""
    )
    return (
        f'<article class="card {card.decision}" data-reasons="{html.escape(" ".join(card.reasons))}">{picture}'
        f'<div class="words"><div>{marks}<span class="label">{html.escape(card.label)}</span></div>'
        f'<p>{html.escape(card.text)}</p><div class="acts">{box}{sure}</div>'
        f'<code title="{key}">{key}</code></div></article>'
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>HanDrawer: prepared pictures</title><style>@STYLE@</style></head><body>
<header><div><h1>Prepared pictures</h1><p>@HEAD@. Blue: a right hand was found, orange: a left one; yellow: the source's
box. Untick what should go, tick what should stay, press “it is fine” where a flag is wrong; then download your
decisions and run <code>python -m handrawer data prepare --apply decisions.json OUT</code>.</p></div>
<div class="side"><span id="changed">nothing changed</span>
<button id="save" disabled>Download decisions.json</button></div>
</header>
<div id="chips">@CHIPS@</div>@PAGES@
<main>
@CARDS@
</main>
<script>const PAGE = @STORE@;
@SCRIPT@</script></body></html>
"""

_STYLE = """
:root { color-scheme: light dark; --back: #f4f5f7; --card: #fff; --ink: #1c2128; --soft: #667; --line: #d8dce3;
  --flag: #b35900; --drop: #b3261e; --keep: #1f7a3d; --go: #1a5fb4; }
@media (prefers-color-scheme: dark) { :root { --back: #15181c; --card: #1f242b; --ink: #e6e9ee; --soft: #9aa3b0;
  --line: #343b45; --flag: #ffab4d; --drop: #ff8a80; --keep: #7ddc98; --go: #78aeed; } }
* { box-sizing: border-box; }
body { margin: 0; font: 14px/1.45 system-ui, sans-serif; background: var(--back); color: var(--ink); }
header { position: sticky; top: 0; z-index: 1; display: flex; gap: 24px; justify-content: space-between;
  align-items: center; padding: 12px 20px; background: var(--card); border-bottom: 1px solid var(--line); }
h1 { font-size: 18px; margin: 0 0 2px; }
header p { margin: 0; max-width: 95ch; color: var(--soft); }
.side { display: flex; flex-direction: column; gap: 6px; align-items: flex-end; white-space: nowrap; }
#changed { color: var(--soft); }
button, .chip { font: inherit; color: inherit; border: 1px solid var(--line); background: var(--card);
  border-radius: 6px; padding: 4px 10px; cursor: pointer; text-decoration: none; }
#save { background: var(--go); border-color: var(--go); color: #fff; font-weight: 600; }
@media (prefers-color-scheme: dark) { #save { color: #10151b; } }
#save:disabled { opacity: .4; cursor: default; }
#chips, nav { display: flex; flex-wrap: wrap; gap: 8px; padding: 12px 20px 0; }
.chip b { color: var(--soft); font-weight: 600; margin-left: 4px; }
.chip.on { border-color: var(--go); box-shadow: inset 0 0 0 1px var(--go); }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(236px, 1fr)); gap: 14px;
  padding: 14px 20px 60px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
  display: flex; flex-direction: column; }
.card.changed { outline: 3px solid var(--go); }
.card img, .none { width: 100%; height: 224px; object-fit: contain; background: #8882; }
.none { display: grid; place-items: center; color: var(--soft); }
.words { padding: 8px 12px 10px; display: flex; flex-direction: column; gap: 5px; flex: 1; }
.words p { margin: 0; flex: 1; }
.mark { display: inline-block; font-size: 12px; font-weight: 600; margin-right: 6px; }
.mark.flag { color: var(--flag); } .mark.drop { color: var(--drop); } .mark.keep { color: var(--keep); }
.label { color: var(--soft); }
.acts { display: flex; justify-content: space-between; align-items: center; min-height: 30px; }
.acts label { cursor: pointer; user-select: none; } .acts label.off { color: var(--soft); cursor: default; }
.sure { padding: 2px 8px; } .sure.on { background: var(--keep); border-color: var(--keep); color: #fff; }
code { font-size: 11px; color: var(--soft); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
header code { font-size: 12px; white-space: normal; }
@media (max-width: 760px) { header { position: static; flex-direction: column; align-items: flex-start; }
  .side { align-items: flex-start; } }
"""

_SCRIPT = """
const decisions = {};
const store = "handrawer-data:" + location.pathname.replace(/[^/]*$/, "");
// Browsers may refuse storage to pages from a disk: the page works without it, but for pages that follow.
const read = () => { try { return JSON.parse(localStorage.getItem(store) || "{}"); } catch { return {}; } };
const keep = () => { try { localStorage.setItem(store, JSON.stringify(decisions)); } catch { /* not kept */ } };
Object.assign(decisions, read());
const boxes = new Map(), fine = new Map();
document.querySelectorAll("input[data-key]").forEach(box => boxes.set(box.dataset.key, box));
document.querySelectorAll(".sure").forEach(button => fine.set(button.dataset.key, button));
function show() {
  for (const [key, box] of boxes) {
    const wish = decisions[key], was = box.dataset.was === "1";
    box.checked = wish ? wish === "keep" : was;
    box.closest(".card").classList.toggle("changed", Boolean(wish));
    fine.get(key)?.classList.toggle("on", wish === "keep");
  }
  const count = Object.keys(decisions).length;
  document.getElementById("changed").textContent =
    count ? count + (count === 1 ? " decision" : " decisions") : "nothing changed";
  document.getElementById("save").disabled = !count;
}
for (const [key, box] of boxes) box.addEventListener("change", () => {
  const was = box.dataset.was === "1";
  if (box.checked === was) delete decisions[key]; else decisions[key] = box.checked ? "keep" : "drop";
  keep(); show();
});
for (const [key, button] of fine) button.addEventListener("click", () => {
  if (decisions[key] === "keep") delete decisions[key]; else decisions[key] = "keep";
  keep(); show();
});
document.querySelectorAll("button.chip").forEach(chip => chip.addEventListener("click", () => {
  document.querySelectorAll("button.chip").forEach(other => other.classList.toggle("on", other === chip));
  const wanted = chip.dataset.reason;
  document.querySelectorAll(".card").forEach(card => {
    card.style.display = !wanted || card.dataset.reasons.split(" ").includes(wanted) ? "" : "none";
  });
}));
document.getElementById("save").addEventListener("click", () => {
  const text = JSON.stringify({ format: "handrawer-decisions", version: 1, decisions }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "decisions.json";
  link.click();
});
show();
"""
