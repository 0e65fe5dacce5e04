"""Where pictures with hands and captions come from: prepared shards, a folder of pictures, or the generator."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ..adapter.inputs import HandInputs
from ..hand.hands import Frame, Hands
from ..hand.model import HandModel
from ..mini.picture import Skin, draw_pictures, make_skin
from ..mini.random_table import uniforms
from ..mini.scene import Scene, draw_scenes, scene_hands
from ..render.pictures import load_picture
from ..synthetic.generator import Generator
from ..synthetic.options import SyntheticOptions
from .buckets import Size
from .cache import name_of
from .config import DataConfig
from .data import KEEP, hand_mask, scene_inputs

log = logging.getLogger("handrawer")
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


@dataclass(frozen=True)
class Example:
    """A picture that is not decoded yet.

    Attributes:
        name: for messages.
        content: a name for the picture's content.
        picture: gives [H, W, 3] float 0..1; ValueError or OSError where it cannot be read.
        frame: its hands.
        caption: in words.
    """

    name: str
    content: str
    picture: Callable[[], Tensor]
    frame: Frame
    caption: str


class Source(Protocol):
    """Pictures of any size, each by its place."""

    name: str
    sizes: list[Size]

    def load(self, place: int) -> Example:
        """ValueError or OSError with a sentence where it cannot be read. Called by several threads."""
        ...


def open_source(config: DataConfig, out: Path, progress: Callable[[str], None] = log.info) -> Source:
    """The source of a configuration other than "synthetic"; ValueError or FileNotFoundError with a sentence."""
    path = Path(config.path or "")
    if config.kind == "shards":
        return ShardSource(path, config)
    return FolderSource(path, config, out, progress)


def held_out(source: Source, count: int) -> list[int]:
    """`count` places, but at most a tenth, that follow from sizes and places alone, in the order of the places."""
    count = min(count, max(1, len(source.sizes) // 10)) if len(source.sizes) > 1 else 0
    order = sorted(range(len(source.sizes)), key=lambda place: name_of("held out", place, source.sizes[place]))
    return sorted(order[:count])


class ShardSource:
    """What `python -m handrawer data prepare` has written."""

    def __init__(self, path: Path, config: DataConfig) -> None:
        from ..data.shards import Reader, open_index

        self.name = f"shards of {path.name}"
        entries = [entry for entry in open_index(path) if entry.hands or config.no_hands]
        if not entries:
            raise ValueError(f"The shards in {path} hold no picture with a hand.")
        self.entries, self.caption = entries, config.caption
        self.sizes: list[Size] = [(entry.width, entry.height) for entry in entries]
        self._readers = threading.local()
        self._reader: Callable[[], Any] = lambda: Reader(layers=())

    def load(self, place: int) -> Example:
        import tarfile

        from ..data.shards import PICTURES as ENDINGS
        from ..data.shards import decode_sample

        entry = self.entries[place]
        if not hasattr(self._readers, "own"):
            self._readers.own = self._reader()
        try:
            members = self._readers.own.members(entry)
            raw = next(members[ending] for ending in ENDINGS if ending in members)
            frame = Hands.from_json(members["hands.json"].decode("utf-8")).frames[0]
            caption = str(json.loads(members["json"].decode("utf-8")).get("caption", ""))
        except (OSError, ValueError, KeyError, StopIteration, tarfile.TarError) as error:
            raise ValueError(f"Sample {entry.key} of {entry.shard.name} cannot be read ({error}).") from error

        def picture() -> Tensor:
            try:
                return decode_sample(entry.key, members, ()).picture.float() / 255
            except (OSError, ValueError, KeyError, TypeError, SyntaxError) as error:
                raise ValueError(f"Sample {entry.key} of {entry.shard.name} cannot be read ({error}).") from error

        return Example(entry.key, _digest(raw), picture, frame, caption or self.caption)


class FolderSource:
    """A plain folder of pictures, captions beside them as `.txt`.

    Hands are read from `hands.json` in the folder, or estimated once, with a note, and kept in the run's folder.
    """

    def __init__(self, path: Path, config: DataConfig, out: Path, progress: Callable[[str], None] = log.info) -> None:
        if not path.is_dir():
            raise FileNotFoundError(f"There is no folder of pictures {path}.")
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES)
        if not files:
            raise ValueError(f"There is no picture in {path} (png, jpg, webp, bmp).")
        self.name, self.caption = f"folder {path.name}", config.caption
        self._told: set[Path] = set()
        frames = self._frames(path, files, out, progress)
        used = [file for file in files if str(file.relative_to(path)) in frames]
        used = [f for f in used if config.no_hands or frames[str(f.relative_to(path))].hands]
        if not used:
            raise ValueError(f"No hand was found in the {len(files)} pictures of {path}: nothing can be learned.")
        if len(used) < len(files):
            progress(f"{len(files) - len(used)} of {len(files)} pictures without a hand, or not readable, are left out")
        self.files, self.frames = used, [frames[str(file.relative_to(path))] for file in used]
        self.sizes: list[Size] = [(frame.width, frame.height) for frame in self.frames]

    def load(self, place: int) -> Example:
        file = self.files[place]
        raw = file.read_bytes()
        text = file.with_suffix(".txt")
        caption = self._words(text) if text.exists() else ""

        def picture() -> Tensor:
            found = load_picture(file)[0]
            frame = self.frames[place]
            if tuple(found.shape[:2]) != (frame.height, frame.width):
                raise ValueError(f"{file.name} has another size than its hands' picture: delete hands.json.")
            return found

        return Example(file.name, _digest(raw), picture, self.frames[place], caption or self.caption)

    def _words(self, text: Path) -> str:
        """A caption in whatever encoding; the first time the log says which, if it is not UTF-8."""
        from ..data.items import read_words

        caption, note = read_words(text)
        if note and text not in self._told:
            self._told.add(text)
            log.warning("%s.", note)
        return caption

    @staticmethod
    def _frames(
        path: Path, files: list[Path], out: Path, progress: Callable[[str], None] = log.info
    ) -> dict[str, Frame]:
        for given in (path / "hands.json", out / "hands.json"):
            if given.exists():
                return read_frames(given)
        progress(f"There is no hands.json in {path}: the hands of {len(files)} pictures are estimated now, once.")
        frames = estimate_folder(path, files, progress)
        try:
            write_frames(out / "hands.json", frames)
        except OSError as error:  # a full disk must not cost what was estimated
            progress(f"{out / 'hands.json'} cannot be written ({error}): a run that goes on will estimate again.")
        else:
            progress(f"The estimated hands are in {out / 'hands.json'}: look at them, or prepare the data properly.")
        return frames


def read_frames(path: Path) -> dict[str, Frame]:
    """{picture's path below its folder: hands} of a hands.json; ValueError with a sentence."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {name: Hands.from_json(json.dumps(hands)).frames[0] for name, hands in values["pictures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} holds no hands of pictures ({error}): delete it, and they are estimated.") from error


def write_frames(path: Path, frames: dict[str, Frame]) -> None:
    """The file that `read_frames` reads; it appears whole."""
    values = {name: json.loads(Hands((frame,)).to_json()) for name, frame in frames.items()}
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps({"format": "handrawer hands of pictures", "pictures": values}), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def estimate_folder(path: Path, files: list[Path], progress: Callable[[str], None]) -> dict[str, Frame]:
    """The hands of every readable picture, estimated; a picture that cannot be read is told and left out."""
    from ..estimate.estimate import estimate_hands

    frames = {}
    for number, file in enumerate(files, 1):
        try:
            picture = load_picture(file)
        except (OSError, ValueError) as error:
            progress(f"{file.name} cannot be read and is left out ({error})")
            continue
        frames[str(file.relative_to(path))] = estimate_hands(picture).frames[0]
        if number % 20 == 0:
            progress(f"hands of {number} of {len(files)} pictures estimated")
    return frames


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


Scenes = TypeVar("Scenes")


class Synthetic(Protocol[Scenes]):
    """Square pictures drawn on the spot, on any device; the same number gives the same picture.

    `scene` says what is in the pictures with some numbers; everything else follows from it.
    """

    @property
    def size(self) -> int:
        """Side in pixels."""
        ...

    def scene(self, numbers: list[int], /) -> Scenes: ...

    def pictures(self, scene: Scenes, /) -> Tensor:
        """[N, 3, size, size] float 0..1."""
        ...

    def captions(self, scene: Scenes, /) -> list[str]: ...

    def inputs(self, scene: Scenes, /, raster: int) -> HandInputs: ...

    def mask(self, scene: Scenes, /, height: int, width: int) -> Tensor:
        """[N, 1, height, width] share of each cell in which a hand is seen."""
        ...

    def hands(self, scene: Scenes, /) -> Hands: ...


def open_synthetic(seed: int, size: int, model: HandModel, options: SyntheticOptions | None = None) -> Synthetic[Any]:
    """The generator: pictures of one hand (those that mini learned from) without options, `synthetic.generator` with.

    Args:
        seed: of the pictures; held-out ones have another.
        size: side in pixels.
        model: on the device that draws.
    """
    if options is None or options.plain:
        return Plain.create(seed, size, model)
    return Generator.create(seed, size, model, options)


@dataclass(frozen=True)
class Plain:
    """One hand each before a plain background: the pictures that mini learned from, at any size.

    Attributes:
        seed: of the scenes.
        size: side in pixels.
        model, skin: on the device that draws.
    """

    seed: int
    size: int
    model: HandModel
    skin: Skin

    @staticmethod
    def create(seed: int, size: int, model: HandModel) -> Plain:
        return Plain(seed, size, model, make_skin(model))

    def scene(self, numbers: list[int]) -> Scene:
        return draw_scenes(self.seed, torch.tensor(numbers, device=self.model.template.device), self.model)

    def pictures(self, scene: Scene) -> Tensor:
        """[N, 3, size, size] float 0..1."""
        return draw_pictures(scene, self.model, self.skin, size=self.size, seed=self.seed)

    def captions(self, scene: Scene) -> list[str]:
        """In words; parts are left out at random, by the sample's number."""
        keep = uniforms(self.seed, scene.index, 7, stream=22) < KEEP
        return [c.text(row) for c, row in zip(scene.captions(), keep.tolist(), strict=True)]

    def inputs(self, scene: Scene, raster: int) -> HandInputs:
        return scene_inputs(scene, self.model, raster)

    def mask(self, scene: Scene, height: int, width: int) -> Tensor:
        return hand_mask(scene, self.model, height, width)

    def hands(self, scene: Scene) -> Hands:
        return scene_hands(scene, self.model, self.size)
