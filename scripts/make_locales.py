"""Writes locales/<language>/*.json and help pages: what the nodes and all that they have are called on ComfyUI's page.

    COMFYUI_PATH=CHECKOUT python scripts/make_locales.py [--check]

English is what the nodes say themselves. Japanese and Chinese are looked up, sentence by sentence, in the catalogues
scripts/locales/ja.json and zh.json, so that one that changes or is new is missed until somebody translates it. The help
pages of the most used nodes, web/docs/NODE/<language>.md, are made of the same texts and of help.ja.json, help.zh.json.
--check writes nothing, says what is wrong, and ends with 1 if anything is.

Words that stay the same all over (Japanese, Chinese; the rest follows ComfyUI's own translations):

    hand 手, 手/手部 · joint 関節, 关节 · skeleton 骨格, 骨架 · mesh メッシュ, 网格 · depth 深度, 深度
    normals 法線, 法线 · parts パーツ, 部位 · mask マスク, 遮罩 · overlay オーバーレイ, 叠加图 · note メモ, 备注
    box ボックス, 边界框 · picture 画像, 图像 · share 割合, 比例 · feather フェザー, 羽化 · gesture ジェスチャー, 手势
    pose ポーズ, 姿势 (of a whole person 姿态) · crop 切り抜き, 裁剪 · latent 潜在表現, Latent
    adapter アダプター, 适配器 · train 学習, 训练

What is to be chosen or typed literally (contain, cover, numbers, %year%) stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))

from node_infos import ROOT, inputs_of, load

LANGUAGES = ("en", "ja", "zh")
# Headings of a help page: inputs, outputs, good to know.
HEADINGS = {"ja": ("入力", "出力", "補足"), "zh": ("输入", "输出", "补充说明")}
# Names that are the same in every language, or differ from the English ones by their capitals alone.
PROPER = frozenset({"HanDrawer", "MODEL", "CLIP", "VAE", "HANDRAWER", "SEGS", "HANDS", "X", "Y", "Latent"})
KANA, HAN = re.compile("[぀-ヿ]"), re.compile("[一-鿿]")
SENTENCE = 25  # characters of Japanese from which on there is kana among them
# In a text of the page's these are commands: of a plural, a place to fill in, a reference.
COMMANDS = re.compile(r"[{}|@]")


def key(name: str) -> str:
    """A name as the page looks it up: a dot would lead one level down."""
    return name.replace(".", "_")


def english(infos: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The files of locales/en by their names, from what the nodes say."""
    nodes, categories = {}, {}
    for node, info in infos.items():
        inputs = {
            key(name): {"name": options.get("display_name") or name, "tooltip": options["tooltip"]}
            for name, (_, options, _) in inputs_of(info).items()
        }
        outputs = {
            str(place): {"name": name, "tooltip": tooltip}
            for place, (name, tooltip) in enumerate(zip(info["output_name"], info["output_tooltips"], strict=True))
        }
        nodes[key(node)] = {
            "display_name": info["display_name"],
            "description": info["description"],
            **({"inputs": inputs} if inputs else {}),
            **({"outputs": outputs} if outputs else {}),
        }
        categories.update({part: part for part in info["category"].split("/")})
    return {"nodeDefs.json": nodes, "main.json": {"nodeCategories": categories}}


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, text) of every text in a tree of dictionaries."""
    if isinstance(tree, dict):
        for name, branch in tree.items():
            yield from leaves(branch, f"{path}.{name}" if path else name)
    else:
        yield path, tree


def translate(tree: Any, catalogue: dict[str, str]) -> Any:
    """The same tree in another language; what the catalogue lacks stays out."""
    if isinstance(tree, dict):
        branches = {name: translate(branch, catalogue) for name, branch in tree.items()}
        return {name: branch for name, branch in branches.items() if branch is not None}
    return tree if tree in PROPER else catalogue.get(tree)


def read_catalogue(language: str) -> dict[str, str]:
    return json.loads((ROOT / "scripts" / "locales" / f"{language}.json").read_text(encoding="utf-8"))


def to_text(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=2) + "\n"


def mentioned(text: str, names: list[str]) -> list[str]:
    """Names of nodes that a text speaks of; of two that begin alike the longer one."""
    found = []
    for name in sorted(names, key=len, reverse=True):
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            found.append(name)
            text = text.replace(name, "")
    return found


def faults_of(text: str, source: str, language: str) -> Iterator[str]:
    """What is wrong with one translation."""
    if text == source and text not in PROPER:
        yield "is still English"
    if COMMANDS.search(text):
        yield "has a sign that is a command to the page"
    if text in PROPER:
        return
    if language == "zh" and (KANA.search(text) or not HAN.search(text)):
        yield "is not written in Chinese characters"
    if language == "ja" and not (KANA.search(text) or (HAN.search(text) and len(text) < SENTENCE)):
        yield "is not written in Japanese"
    for word in re.findall(r"(?<!\w)'[^']+'(?!\w)|`[^`]+`|%\w+%|\w+/\w+|[\w-]+\.\w+", source):
        if word not in text:
            yield f"lacks {word}"


def faults(infos: dict[str, dict[str, Any]], language: str, catalogue: dict[str, str]) -> Iterator[str]:
    """What is wrong with a language: texts missing, left over, or not what they should be."""
    wanted = dict.fromkeys(text for tree in english(infos).values() for _, text in leaves(tree))
    names = [str(info["display_name"]) for info in infos.values()]
    for text in wanted:
        if text not in catalogue:
            if text not in PROPER:
                yield f"{language}: missing: {text}"
            continue
        for fault in faults_of(catalogue[text], text, language):
            yield f"{language}: {fault}: {text} -> {catalogue[text]}"
        for name in mentioned(text, names):
            if catalogue.get(name, name) not in catalogue[text]:
                yield f"{language}: calls {name} by another name: {text} -> {catalogue[text]}"
    translated = [catalogue.get(name, name) for name in names]
    yield from (f"{language}: two nodes are called {n}" for n in sorted({*translated}) if translated.count(n) > 1)
    yield from (f"{language}: left over: {text}" for text in catalogue if text not in wanted)


def help_page(node: str, texts: dict[str, Any], language: str, further: str) -> str:
    """A node's help page in another language: what its texts say, its picture, and what there is to add."""
    inputs, outputs, notes = HEADINGS[language]
    title = texts["display_name"]
    lines = [f"# {title}", texts["description"], f"![{title}](images/{node}.webp)"]
    for heading, parts in ((inputs, texts.get("inputs", {})), (outputs, texts.get("outputs", {}))):
        if parts:
            lines += [f"## {heading}", "\n".join(f"- **{part['name']}**: {part['tooltip']}" for part in parts.values())]
    return "\n\n".join([*lines, f"## {notes}", further]) + "\n"


def help_pages(infos: dict[str, dict[str, Any]], language: str) -> dict[str, str]:
    """Path -> text of the help pages in a language: of the nodes that help.LANGUAGE.json has something to add to."""
    nodes = translate(english(infos), read_catalogue(language))["nodeDefs.json"]
    return {
        f"web/docs/{node}/{language}.md": help_page(node, nodes[node], language, further)
        for node, further in read_catalogue(f"help.{language}").items()
    }


def wanted_files(infos: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Path below the project -> text of every file of locales/, and of the help pages that are not in English."""
    files = {}
    for language in LANGUAGES:
        catalogue = None if language == "en" else read_catalogue(language)
        for name, tree in english(infos).items():
            tree = tree if catalogue is None else translate(tree, catalogue)
            files[f"locales/{language}/{name}"] = to_text(tree)
        if language != "en":
            files.update(help_pages(infos, language))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes locales/<language>/*.json.")
    parser.add_argument("--check", action="store_true", help="write nothing, say what is missing or stale")
    check = parser.parse_args().check
    infos = load()
    found = [fault for language in LANGUAGES[1:] for fault in faults(infos, language, read_catalogue(language))]
    for path, text in wanted_files(infos).items():
        if not check:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(text, encoding="utf-8", newline="\n")
        elif not (ROOT / path).is_file() or (ROOT / path).read_text(encoding="utf-8") != text:
            found.append(f"{path} is not what the nodes and the catalogues say: run this script")
    print("\n".join(found) or f"{len(infos)} nodes in {len(LANGUAGES)} languages.")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
