"""What came out of a folder of pictures: numbers with intervals, a table, and a page with the best and the worst."""

from __future__ import annotations

import base64
import html
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ..hand.hands import Hands
from ..render.overlay import draw_overlay
from ..render.pictures import to_pil
from .distances import Distance
from .folders import PCK_STEPS, Row, WantedHand, finite

RESAMPLES = 2000
SHOWN = 6  # best, median and worst pictures, each
THUMB = 300  # pixels

MEASURES: dict[str, tuple[str, Callable[[WantedHand], float], bool]] = {
    # name: words, value, whether only hands that were found count
    "pck": ("PCK@0.1 (a hand that is not found counts as 0)", lambda w: w.pck, False),
    "found": ("wanted hand found", lambda w: float(w.found), False),
    "side": ("side right, of those found", lambda w: float(w.side_right), True),
    "pixels": ("joint error, pixels, of those found", lambda w: w.pixels, True),
    "percent": ("joint error, percent of the box, of those found", lambda w: w.percent, True),
    "millimetres": (
        "3D joint error after fitting and Procrustes, mm, of those found",
        lambda w: w.millimetres,
        True,
    ),
    "fingers": (
        "as many fingers extended as wanted, of those found",
        lambda w: float(w.fingers == w.fingers_found),
        True,
    ),
}


def summary(rows: Sequence[Row], distances: dict[str, Distance | None]) -> dict[str, Any]:
    """All numbers of a folder as they stand in report.json. Intervals are 95 %, bootstrap over pictures."""
    hands = [hand for row in rows for hand in row.frame.hands]
    measured = {
        "hand_found": interval([float(bool(row.frame.hands)) for row in rows]),
        "hands_a_picture": interval([float(len(row.frame.hands)) for row in rows]),
        "confidence": interval([hand.confidence for hand in hands]),
        "residual": interval([r for row in rows for r in row.residuals]),
        "unsure": interval([float(hand.unsure) for hand in hands]),
    }
    result: dict[str, Any] = {
        "pictures": len(rows),
        "measures": measured,
        "fingers": dict(sorted(Counter(f for row in rows for f in row.fingers).items())),
        "sides": dict(sorted(Counter(hand.side for hand in hands).items())),
    }
    if any(row.wanted is not None for row in rows):
        result["wanted"] = _wanted(rows)
    scores = [row.clip for row in rows if row.clip is not None]
    if scores:
        result["clip"] = interval(scores)
    if distances:
        result["distances"] = {name: asdict(one) if one else None for name, one in distances.items()}
    return result


def _wanted(rows: Sequence[Row]) -> dict[str, Any]:
    asked = [row.wanted for row in rows if row.wanted is not None]
    wanted = [hand for hands in asked for hand in hands]
    measures = {}
    for name, (_, value, found_only) in MEASURES.items():
        measures[name] = interval([value(w) for w in wanted if w.found or not found_only])
    errors = torch.stack([w.errors for w in wanted]) if wanted else torch.zeros(0, 21)
    curve = [finite(float((errors <= step).float().mean())) if len(errors) else None for step in PCK_STEPS]
    return {"hands": len(wanted), "measures": measures, "pck_curve": {"radius": list(PCK_STEPS), "share": curve}}


def interval(values: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Mean, 95 % bootstrap interval and count; null where there is no value."""
    if not values:
        return {"mean": None, "low": None, "high": None, "count": 0}
    numbers = torch.tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack([
        numbers[torch.randint(len(numbers), (len(numbers),), generator=generator)].mean() for _ in range(RESAMPLES)
    ])  # fmt: skip
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {
        "mean": finite(float(numbers.mean()), 5),
        "low": finite(low, 5),
        "high": finite(high, 5),
        "count": len(values),
    }


PLAIN = {
    "hand_found": "pictures in which a hand is found",
    "hands_a_picture": "hands found in a picture",
    "confidence": "the detector's confidence, of the hands found",
    "residual": "fit residual (what the best possible hand leaves unexplained, share of its size)",
    "unsure": "hands whose side, or palm and back, are not certain",
}
UNITS = {"pixels", "percent", "millimetres", "hands_a_picture", "residual", "confidence", "clip"}
"""Measures that are no shares."""


def table(result: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """Rows of words, mean, interval, count."""
    rows = [_line(PLAIN[name], name, value) for name, value in result["measures"].items()]
    for name, value in result.get("wanted", {}).get("measures", {}).items():
        rows.append(_line(MEASURES[name][0], name, value))
    if "clip" in result:
        rows.append(_line("CLIP score, 100 x cosine of picture and caption", "clip", result["clip"]))
    return rows


def _line(words: str, name: str, value: dict[str, Any]) -> tuple[str, str, str, int]:
    if value["mean"] is None:
        return words, "-", "-", 0
    share = name not in UNITS

    def said(number: float) -> str:
        return f"{100 * number:.1f} %" if share else f"{number:.3g}" if abs(number) < 1 else f"{number:.1f}"

    return words, said(value["mean"]), f"{said(value['low'])} to {said(value['high'])}", value["count"]


def markdown(result: dict[str, Any], folder: str) -> str:
    """The table for a reader."""
    lines = [f"# {folder}", "", f"{result['pictures']} pictures.", "", "| measure | mean | 95 % | of |", "| --- | --- |"
             " --- | --- |"]  # fmt: skip
    lines += [f"| {words} | {mean} | {span} | {count} |" for words, mean, span, count in table(result)]
    counts = ", ".join(f"{fingers}: {hands}" for fingers, hands in result["fingers"].items()) or "-"
    sides = ", ".join(f"{side}: {hands}" for side, hands in result["sides"].items()) or "-"
    lines += [
        "",
        f"Hands by the number of extended fingers (of the fit, thumb among them): {counts}. By side: {sides}.",
    ]
    lines += ["", *(line for one in distance_lines(result) for line in (one, ""))]
    if "wanted" in result:
        curve = result["wanted"]["pck_curve"]
        chosen = [
            (r, s) for r, s in zip(curve["radius"], curve["share"], strict=True) if r in (0.05, 0.1, 0.15, 0.2, 0.3)
        ]
        lines += [
            "PCK by radius: " + ", ".join(f"{r}: {'-' if s is None else f'{s:.3f}'}" for r, s in chosen) + ".",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def distance_lines(result: dict[str, Any]) -> list[str]:
    """A sentence for each pair of sets that were compared."""
    lines = []
    for name, one in result.get("distances", {}).items():
        if one is None:
            lines.append(f"FID and KID over {name}: too few pictures.")
            continue
        lines.append(
            f"FID over {name}: {one['fid']:.2f}, KID: {one['kid']:.4f} ± {one['kid_spread']:.4f} ({one['pictures']} "
            f"against {one['references']}). Features: {one['extractor']}. {one['note']}".strip()
        )
    return lines


# --- the page


class Gallery:
    """Keeps small pictures of what the page will show, so that no large one stays in memory."""

    def __init__(self) -> None:
        self._thumbs: dict[str, str] = {}

    def add(self, row: Row, picture: Tensor) -> None:
        scale = min(1.0, THUMB / max(picture.shape[:2]))
        size = max(1, round(row.width * scale)), max(1, round(row.height * scale))
        small = to_pil(picture).resize(size)
        values = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(size[1], size[0], 3).float() / 255
        drawn = to_pil(draw_overlay(values[None], Hands((row.frame,)), opacity=0.5, badges=False)[0])
        self._thumbs[row.name] = data_uri(small) + " " + data_uri(drawn)

    def pair(self, name: str) -> tuple[str, str]:
        plain, drawn = self._thumbs[name].split(" ")
        return plain, drawn


def data_uri(image: Any, quality: int = 82) -> str:
    """A picture as an address that needs no file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def page(result: dict[str, Any], rows: Sequence[Row], gallery: Gallery, folder: str) -> str:
    """The report as one file of HTML."""
    body = [f"<h1>{html.escape(folder)}</h1><p>{result['pictures']} pictures</p>", "<table><tr><th>measure</th><th>mean"
            "</th><th>95 %</th><th>of</th></tr>"]  # fmt: skip
    for words, mean, span, count in table(result):
        body.append(f"<tr><td>{html.escape(words)}</td><td>{mean}</td><td>{span}</td><td>{count}</td></tr>")
    body.append("</table>")
    body += [f"<p>{html.escape(line)}</p>" for line in distance_lines(result)]
    if "wanted" in result:
        body.append(f"<h2>PCK</h2>{curve_svg(result['wanted']['pck_curve'])}")
    order = sorted(rows, key=lambda row: (-row.worth, row.name))
    middle = max(0, (len(order) - SHOWN) // 2)
    by = "PCK and joint error" if "wanted" in result else "what the best possible hand leaves unexplained"
    body.append(f"<p class='soft'>Ordered by {by}. Hover over a picture to see it without the fitted hands.</p>")
    for title, chosen in (("Best", order[:SHOWN]), ("Median", order[middle : middle + SHOWN]),
                          ("Worst", order[::-1][:SHOWN])):  # fmt: skip
        cards = "".join(_card(row, *gallery.pair(row.name)) for row in chosen)
        body.append(f"<h2>{title}</h2><div class='cards'>{cards}</div>")
    return _PAGE.replace("@BODY@", "\n".join(body))


def _card(row: Row, plain: str, drawn: str) -> str:
    words = []
    for wanted in row.wanted or ():
        if not wanted.found:
            words.append("wanted hand not found")
            continue
        fingers = f"fingers {wanted.fingers_found} (wanted {wanted.fingers})"
        words.append(f"PCK {wanted.pck:.2f}, {wanted.pixels:.0f} px, {wanted.millimetres:.0f} mm, {fingers}")
    if row.wanted is None:
        words = [f"residual {r:.3f}, {f} fingers" for r, f in zip(row.residuals, row.fingers, strict=True)]
    said = "; ".join(words) or "no hand found"
    return (
        f"<figure><div class='pair'><img src='{drawn}' alt=''><img class='plain' src='{plain}' alt=''></div>"
        f"<figcaption>{html.escape(row.name)}<br>{html.escape(said)}</figcaption></figure>"
    )


def curve_svg(curve: dict[str, Any]) -> str:
    """The PCK curve as a drawing: radius over the box's longer side against the share of joints."""
    wide, high, left, low = 560, 260, 46, 34
    most = max(curve["radius"])
    known = [(r, s) for r, s in zip(curve["radius"], curve["share"], strict=True) if s is not None]

    def at(radius: float, share: float) -> str:
        return f"{left + radius / most * (wide - left - 12):.1f},{8 + (1 - share) * (high - low - 8):.1f}"

    grid = "".join(
        f"<polyline points='{at(0, s)} {at(most, s)}' class='grid'/><text x='{left - 6}' y='"
        f"{at(0, s).split(',')[1]}' text-anchor='end' dy='4'>{s:g}</text>"
        for s in (0, 0.25, 0.5, 0.75, 1)
    )
    grid += "".join(
        f"<text x='{at(r, 0).split(',')[0]}' y='{high - 18}' text-anchor='middle'>{r:g}</text>"
        for r in (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    )
    points = " ".join(at(r, s) for r, s in known)
    mark = f"<polyline points='{at(0.1, 0)} {at(0.1, 1)}' class='mark'/>"
    return (
        f"<svg viewBox='0 0 {wide} {high}' role='img' aria-label='PCK curve'>{grid}{mark}"
        f"<polyline points='{points}' class='line'/><text x='{wide / 2}' y='{high - 3}' text-anchor='middle'>"
        "radius, share of the box's longer side</text></svg>"
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>HanDrawer: evaluation</title><style>
:root { color-scheme: light dark; --ink: #1c2128; --back: #fff; --soft: #667; --line: #d8dce3; --go: #1a5fb4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --back: #15181c; --soft: #9aa3b0; --line: #343b45;
  --go: #78aeed; } }
body { font: 14px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 1160px;
  margin: 24px auto; padding: 0 20px; }
h1 { font-size: 20px; overflow-wrap: anywhere; } h2 { font-size: 16px; margin-top: 26px; }
table { border-collapse: collapse; } th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid
  var(--line); } td:nth-child(n+2), th:nth-child(n+2) { text-align: right; font-variant-numeric: tabular-nums; }
.soft, figcaption { color: var(--soft); } svg { width: 100%; max-width: 620px; font: 11px system-ui;
  fill: var(--soft); }
.grid { stroke: var(--line); fill: none; } .mark { stroke: var(--soft); stroke-dasharray: 4; fill: none; }
.line { stroke: var(--go); stroke-width: 2.5; fill: none; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 14px; }
figure { margin: 0; } .pair { position: relative; } .pair img { width: 100%; display: block; border-radius: 6px; }
.plain { position: absolute; inset: 0; opacity: 0; } .pair:hover .plain { opacity: 1; }
figcaption { font-size: 12px; overflow-wrap: anywhere; margin-top: 4px; }
</style></head><body>
@BODY@
</body></html>
"""


def wilson(wins: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, J. American Statistical Association 22); (0, 1) for none."""
    if not count:
        return 0.0, 1.0
    share = wins / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)
