"""The nodes in English, Japanese and Chinese: all texts are there, in their script, and agree with the nodes."""

import json
import re

import pytest

from tests.nodes.signatures import script

KINDS = {"display_name", "description", "inputs", "outputs"}


@pytest.fixture(scope="module")
def locales():
    return script("make_locales")


@pytest.fixture(scope="module")
def infos(plugin):
    return script("node_infos").describe(plugin)


@pytest.fixture(scope="module")
def written(locales):
    """What lies in locales/, language by language."""
    root = locales.ROOT / "locales"
    files = ("nodeDefs.json", "main.json")
    return {
        language: {name: json.loads((root / language / name).read_text(encoding="utf-8")) for name in files}
        for language in locales.LANGUAGES
    }


def test_every_text_of_every_node_is_there_and_none_is_left_over(infos, written):
    """Looked up as the page does, from what the host tells it of the nodes."""
    for language, files in written.items():
        texts = files["nodeDefs.json"]
        assert list(texts) == list(infos), language
        for node, info in infos.items():
            entry = texts[node]
            assert set(entry) <= KINDS and entry["display_name"] and entry["description"], (language, node)
            inputs = [name for group in ("required", "optional") for name in info["input"].get(group, {})]
            assert list(entry.get("inputs", {})) == [name.replace(".", "_") for name in inputs], (language, node)
            assert list(entry.get("outputs", {})) == [str(n) for n in range(len(info["output"]))], (language, node)
            for part in [*entry.get("inputs", {}).values(), *entry.get("outputs", {}).values()]:
                assert set(part) == {"name", "tooltip"} and all(part.values()), (language, node, part)
        menus = {part for info in infos.values() for part in info["category"].split("/")}
        assert set(files["main.json"]["nodeCategories"]) == menus


def test_english_is_what_the_nodes_say(infos, written):
    for node, info in infos.items():
        entry = written["en"]["nodeDefs.json"][node]
        assert entry["display_name"] == info["display_name"] and entry["description"] == info["description"]
        for group in ("required", "optional"):
            for name, (_, options) in info["input"].get(group, {}).items():
                assert entry["inputs"][name.replace(".", "_")]["tooltip"] == options["tooltip"], (node, name)
        assert [part["name"] for part in entry.get("outputs", {}).values()] == info["output_name"]


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_the_others_are_translations(locales, written, language):
    """Of every text: another than the English one, in the language's own script; names of programs alone stay."""
    same = total = 0
    source = dict(locales.leaves(written["en"]))
    for path, text in locales.leaves(written[language]):
        total += 1
        if text in locales.PROPER:
            same += 1
            assert text.lower() == source[path].lower(), path
            continue
        assert text != source[path], path
        if language == "zh":
            assert re.search("[一-鿿]", text) and not re.search("[぀-ヿ]", text), (path, text)
        else:
            assert re.search("[぀-ヿ一-鿿]", text), (path, text)
            assert len(text) < locales.SENTENCE or re.search("[぀-ヿ]", text), (path, text)
        assert not re.search("[{}|@]", text), f"{path}: the page takes these signs for commands"
    assert same < 0.05 * total


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_nodes_have_one_name_each_and_keep_it_in_other_nodes_texts(locales, infos, language):
    assert list(locales.faults(infos, language, locales.read_catalogue(language))) == []


def test_the_files_are_what_the_script_writes(locales, infos):
    for path, text in locales.wanted_files(infos).items():
        assert (locales.ROOT / path).read_text(encoding="utf-8") == text, f"run scripts/make_locales.py: {path}"
    files = [*(locales.ROOT / "locales").rglob("*.json"), *(locales.ROOT / "web" / "docs").glob("*/*.md")]
    kept = {path.relative_to(locales.ROOT).as_posix() for path in files}
    assert kept == set(locales.wanted_files(infos))


def test_a_text_that_nobody_has_translated_is_missed(locales, infos):
    """The check can fail: a new sentence, a stale one, one left in English, another script, another node's old name."""
    catalogue = locales.read_catalogue("ja")
    some = next(text for text in catalogue if text.endswith("."))
    without = {text: found for text, found in catalogue.items() if text != some}
    assert any("missing" in fault for fault in locales.faults(infos, "ja", without))
    assert any("left over" in fault for fault in locales.faults(infos, "ja", {**catalogue, "Gone.": "ない"}))
    assert any("still English" in fault for fault in locales.faults(infos, "ja", {**catalogue, some: some}))
    chinese = {**catalogue, some: "这里没有任何日文假名，只有汉字，所以这一句不可能是日文文本。"}
    assert any("not written in Japanese" in fault for fault in locales.faults(infos, "ja", chinese))
    renamed = {**catalogue, "Place Hands": "手を置く"}
    assert any("another name" in fault for fault in locales.faults(infos, "ja", renamed))


def test_the_host_reads_them(locales, infos, tmp_path, monkeypatch):
    """By its own code, from a folder of custom nodes."""
    import folder_paths
    from app.custom_node_manager import CustomNodeManager

    (tmp_path / "HanDrawer").symlink_to(locales.ROOT, target_is_directory=True)
    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda _name: [str(tmp_path)])
    found = CustomNodeManager().build_translations()
    assert set(found) == set(locales.LANGUAGES)
    for texts in found.values():
        assert set(texts) == {"nodeDefs", "nodeCategories"} and set(texts["nodeDefs"]) == set(infos)
