"""Nodes which train a HanDrawer for the MODEL on the canvas, and save it."""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import comfy.model_management as mm
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..handrawer.adapter.checkpoint import save
from ..handrawer.hand.convert import refit_for
from ..handrawer.hand.hands import Hands
from ..handrawer.train.buckets import bucket_sizes as sizes_like
from ..handrawer.train.buckets import crop_for, nearest_bucket
from ..handrawer.train.config import DataConfig, DropConfig, OptimiserConfig
from ..handrawer.train.in_memory import Item, MemoryTrainer, Settings
from ..handrawer.train.sources import ShardSource
from ..handrawer.train.text import Text
from . import folders, network, placing, types
from .notes import tell
from .outputs import STEERING, note_output
from .training_model import CanvasModel, normal

PREVIEW_EVERY = 10
USUAL_SIZES = {"mini": 256, "sdxl": 1024}  # of a folder's pictures; 512 for the others
MODELS, OUTPUT = "models/handrawer", "output"


class HanDrawerTrain(io.ComfyNode):
    """Pictures with hands, and the MODEL, CLIP and VAE that are to draw such, to an adapter."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerTrain",
            display_name="Train HanDrawer",
            category=STEERING,
            is_input_list=True,
            description=(
                "Trains a HanDrawer adapter for this MODEL on pictures with hands. The MODEL stays as it is; what "
                "comes out can be applied at once, and kept with Save HanDrawer. A few pictures show that it works; "
                "an adapter that is worth keeping wants thousands, and rather the command line: docs/training.md."
            ),
            inputs=[
                io.Model.Input("model", tooltip="SD1.x, SD2.x, SDXL or the small model. LoRAs on it count."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                io.Vae.Input("vae", tooltip="Its VAE."),
                io.Int.Input("steps", default=200, min=1, max=1_000_000, tooltip="How many steps to train."),
                io.Int.Input("batch", default=1, min=1, max=256, tooltip="Pictures in a step: more need more memory."),
                io.Float.Input(
                    "learning_rate", default=0.0001, min=0.000001, max=0.1, step=0.000001,
                    tooltip="0.0001 for a new adapter; less to go on with one.",
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=False,
                    tooltip="Of the new weights, the order of the pictures and the noise.",
                ),
                io.String.Input(
                    "captions", default="a photo of a hand", multiline=True,
                    tooltip="What is in the pictures: one line for all, or a line for each. Connect the texts of a "
                    "dataset node here.",
                ),
                io.Image.Input(
                    "images", optional=True,
                    tooltip="The pictures: a batch, or the list of a dataset node. They are used at their own size.",
                ),
                types.Hands.Input(
                    "hands", optional=True,
                    tooltip="The hands in them, from Estimate Hands. Without it they are estimated here.",
                ),
                io.Conditioning.Input(
                    "positive", optional=True,
                    tooltip="Prompts that are encoded already, one for all pictures or one each, instead of captions.",
                ),
                types.HanDrawerModel.Input(
                    "handrawer", optional=True, tooltip="An adapter for this model to go on from."
                ),
                io.String.Input(
                    "folder", default="", optional=True,
                    tooltip="Instead of images: a folder that `python -m handrawer data prepare` has written.",
                ),
            ],
            outputs=[
                types.HanDrawerModel.Output(
                    id="handrawer_out", display_name="HANDRAWER", tooltip="The trained adapter, for Encode Hands."
                ),
                note_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        model: list,
        clip: list,
        vae: list,
        steps: list[int],
        batch: list[int],
        learning_rate: list[float],
        seed: list[int],
        captions: list[str],
        images: list[Tensor] | None = None,
        hands: list[Hands] | None = None,
        positive: list | None = None,
        handrawer: list | None = None,
        folder: list[str] | None = None,
    ) -> io.NodeOutput:
        start = handrawer[0] if handrawer else None
        where = (folder or [""])[0].strip()
        settings = Settings(
            steps=steps[0], batch=batch[0], seed=seed[0], drop=DropConfig(),
            optimiser=OptimiserConfig(rate=learning_rate[0], warmup=min(100, max(1, steps[0] // 10)), ema=0.999),
        )  # fmt: skip
        canvas = CanvasModel(model[0])
        if start is not None:
            network.check_fit(start, model[0])
        node_id = str(_first(cls.hidden.unique_id))
        # The host runs nodes in inference mode, in which nothing can learn.
        with torch.inference_mode(False):
            adapter = canvas.new_adapter(settings.seed) if start is None else canvas.copied(start.adapter)
            hand_model = network.hand_model(adapter.config.hand_model)
            if where:
                count = settings.steps * settings.batch
                items = folder_items(canvas, clip[0], vae[0], where, count, settings.seed, hand_model.name)
            elif images:
                given = Pictures.of(images, hands, captions, positive, node_id)
                items = given.items(canvas, clip[0], vae[0], hand_model.name)
            else:
                raise ValueError("images: connect pictures, or name a prepared folder in 'folder'.")
            empty = encode_text(canvas, clip[0], "")
            done, losses = _train(canvas, adapter, hand_model, items, empty, settings)
        note = (
            f"{done} steps on {len(items)} pictures; loss {losses[0]:.4f} at first, {losses[1]:.4f} in the end "
            "(each a mean over a tenth of the steps)."
        )
        return io.NodeOutput(_as_network(adapter, _card(canvas, settings, items, done, losses)), note)


class HanDrawerSave(io.ComfyNode):
    """An adapter to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerSave",
            display_name="Save HanDrawer",
            category=STEERING,
            is_output_node=True,
            description="Writes an adapter to a .safetensors file that says what it is; no file is ever overwritten.",
            inputs=[
                types.HanDrawerModel.Input("handrawer", tooltip="The adapter, from Train HanDrawer."),
                io.String.Input(
                    "filename_prefix", default="my_hands",
                    tooltip="The file's name; a number is added. Folders and words like %year% work as in Save Image.",
                ),
                io.Combo.Input(
                    "folder", options=[MODELS, OUTPUT], default=MODELS,
                    tooltip="models/handrawer, where Load HanDrawer finds it, or ComfyUI's output folder.",
                ),
            ],
            outputs=[io.String.Output(id="file_out", display_name="file", tooltip="The file that was written.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, handrawer: network.Network, filename_prefix: str, folder: str) -> io.NodeOutput:
        with placing.named("filename_prefix"):
            path = free_path(filename_prefix, folder)
        write(path, handrawer)
        return io.NodeOutput(str(path), ui=ui.PreviewText(f"written: {path}"))


def free_path(prefix: str, folder: str) -> Path:
    """A file that does not exist, in one of the folders of HanDrawerSave.

    Raises:
        ValueError: the prefix leads out of the folder.
    """
    root = folder_paths.get_output_directory()
    if folder == MODELS:
        root = folder_paths.get_folder_paths(folders.FOLDER)[0]
    os.makedirs(root, exist_ok=True)
    if not prefix.strip():
        raise ValueError("The name is empty: give the file one.")
    # The host counts what is there and refuses what lies outside; it counts pictures' names alone, hence the loop.
    try:
        full, name, counter, _, _ = folder_paths.get_save_image_path(prefix, root)
    except Exception as error:
        raise ValueError(f"{prefix!r} does not lie in that folder ({error}): give a plain name.") from error
    while (path := Path(full) / f"{name}_{counter:05}_.safetensors").exists():
        counter += 1
    return path


def write(path: Path, handrawer: network.Network) -> None:
    """Write an adapter with its card; the file appears whole."""
    stored = next(iter(handrawer.adapter.parameters())).dtype
    save(path, handrawer.adapter, training=handrawer.metadata.training, dtype=min(stored, torch.float16, key=_bits))


def _bits(dtype: torch.dtype) -> int:
    return torch.finfo(dtype).bits


class Pictures:
    """Pictures on the canvas with what belongs to each."""

    def __init__(self, pictures: list[Tensor], hands: Hands, captions: list[str], prompts: list | None) -> None:
        self.pictures, self.hands, self.captions, self.prompts = pictures, hands, captions, prompts

    @staticmethod
    def of(
        images: Sequence[Tensor], hands: Sequence[Hands] | None, captions: Sequence[str],
        positive: Sequence[list] | None, node_id: str,
    ) -> "Pictures":  # fmt: skip
        """From the node's inputs, which are lists; ValueError where they do not belong together."""
        pictures = [normal(picture) for batch in images for picture in batch.float()]
        frames = [frame for part in hands or () for frame in part.frames]
        if not frames:
            tell(node_id, f"The hands of {len(pictures)} pictures are estimated: connect 'hands' to see or mend them.")
            frames = [_estimated(picture) for picture in pictures]
        if len(frames) not in (1, len(pictures)):
            raise ValueError(f"hands: there are hands of {len(frames)} pictures, but {len(pictures)} pictures.")
        frames = frames * len(pictures) if len(frames) == 1 else frames
        placed = [
            frame if (frame.width, frame.height) == (picture.shape[1], picture.shape[0])
            else Hands((frame,)).placed(picture.shape[1], picture.shape[0]).frames[0]
            for frame, picture in zip(frames, pictures, strict=True)
        ]  # fmt: skip
        prompts = [one for conditioning in positive or () for one in conditioning] or None
        lines = [line.strip() for text in captions for line in text.splitlines() if line.strip()] or [""]
        if len(captions) == len(pictures) > 1:
            lines = [" ".join(text.split()) for text in captions]  # a dataset's texts, which may have several lines
        given, word = (lines, "captions") if prompts is None else (prompts, "positive")
        if len(given) not in (1, len(pictures)):
            raise ValueError(
                f"{word}: there are {len(given)} of them for {len(pictures)} pictures; give one, or one each."
            )
        return Pictures(pictures, Hands(tuple(placed)), lines, prompts)

    def items(self, canvas: CanvasModel, clip, vae, hand_model: str) -> list[Item]:
        """Encoded, those without a hand left out; ValueError if none is left."""
        hands, _ = refit_for(self.hands, hand_model)
        found, texts = [], {}
        prompts = self.prompts or []
        progress = comfy.utils.ProgressBar(len(self.pictures))
        for place, (picture, frame) in enumerate(zip(self.pictures, hands.frames, strict=True)):
            progress.update(1)
            if not any(hand.enabled for hand in frame.hands):
                continue
            size = (max(64, frame.width // 8 * 8), max(64, frame.height // 8 * 8))
            number = place % len(prompts or self.captions)
            if number not in texts:
                texts[number] = (
                    canvas.text(prompts[number]) if prompts else encode_text(canvas, clip, self.captions[number])
                )
            transform = crop_for(frame, size)
            found.append(encode_picture(canvas, vae, picture, transform, frame, texts[number], f"picture {place}"))
        if not found:
            raise ValueError("images: there is no hand in these pictures, so there is nothing to learn from.")
        return found


def folder_items(canvas: CanvasModel, clip, vae, folder: str, count: int, seed: int, hand_model: str) -> list[Item]:
    """At most `count` pictures of a prepared folder, chosen by the seed, cropped to buckets and encoded."""
    size = USUAL_SIZES.get(canvas.description.name, 512)
    with placing.named("folder"):
        try:
            source = ShardSource(Path(folder), DataConfig(kind="shards", path=folder, size=size))
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error
    order = torch.randperm(len(source.sizes), generator=torch.Generator().manual_seed(seed)).tolist()[:count]
    buckets, items, texts = sizes_like(size), [], {}
    progress = comfy.utils.ProgressBar(len(order))
    for place in order:
        progress.update(1)
        mm.throw_exception_if_processing_interrupted()
        try:
            example = source.load(place)
            picture = example.picture()
        except (OSError, ValueError) as error:
            folders_log(f"{error} It is skipped.")
            continue
        frame = refit_for(Hands((example.frame,)), hand_model)[0].frames[0]
        transform = crop_for(frame, nearest_bucket(frame.width, frame.height, buckets))
        if example.caption not in texts:
            texts[example.caption] = encode_text(canvas, clip, example.caption)
        items.append(encode_picture(canvas, vae, picture, transform, frame, texts[example.caption], example.name))
    if not items:
        raise ValueError(f"folder: none of the pictures in {folder} can be read.")
    return items


def folders_log(sentence: str) -> None:
    import logging

    logging.getLogger("handrawer").warning(sentence)


def _estimated(picture: Tensor):
    from ..handrawer.estimate.estimate import estimate_hands

    mm.throw_exception_if_processing_interrupted()
    return estimate_hands(picture[None, ..., :3]).frames[0]


def encode_picture(canvas: CanvasModel, vae, picture: Tensor, transform, frame, text: Text, name: str) -> Item:
    """A picture [H, W, C] cropped by a transform, through the VAE; its hands with it."""
    from ..handrawer.render.moving import transform_picture

    cropped = transform_picture(picture[None, ..., :3], transform).clamp(0, 1)
    with torch.no_grad():
        latent = canvas.latent(normal(vae.encode(cropped)))
    return Item(latent, text, transform.frame(frame), name)


def encode_text(canvas: CanvasModel, clip, caption: str) -> Text:
    """A caption through the canvas's CLIP."""
    with torch.no_grad():
        (found, *_) = clip.encode_from_tokens_scheduled(clip.tokenize(caption))
    return canvas.text(found)


def _train(canvas: CanvasModel, adapter, hand_model, items, empty, settings) -> tuple[int, tuple[float, float]]:
    """Steps that were done, and the mean loss of the first and the last tenth of them."""
    losses: list[float] = []
    with canvas.loaded(), torch.enable_grad():
        adapter.to(canvas.device)
        trainer = MemoryTrainer(canvas, adapter, hand_model, items, empty, canvas.levels, settings, [canvas.network])
        progress = comfy.utils.ProgressBar(settings.steps)
        try:
            while trainer.step < settings.steps:
                losses.append(trainer.train_step()["loss"])
                preview = canvas.preview() if trainer.step % PREVIEW_EVERY == 1 else None
                progress.update_absolute(trainer.step, settings.steps, preview)
                mm.throw_exception_if_processing_interrupted()
        except (mm.InterruptProcessingException, FloatingPointError):
            if losses:
                _keep(canvas, trainer, settings, items, losses)
            raise
        finally:
            trainer.finished().to("cpu")
    tenth = max(1, len(losses) // 10)
    return trainer.step, (sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth)


def _keep(canvas, trainer: MemoryTrainer, settings, items, losses: list[float]) -> None:
    """What a training that did not come to its end has learned, as a file, so that it is not lost."""
    path = free_path("interrupted", MODELS)
    training = _card(canvas, settings, items, trainer.step, (losses[0], losses[-1]))
    save(path, trainer.finished(), training=training)
    folders_log(
        f"Training ended after {trainer.step} of {settings.steps} steps: what it has learned is kept as {path}."
    )


def _card(canvas: CanvasModel, settings: Settings, items: Sequence[Item], steps: int, losses) -> dict:
    return {
        "base": canvas.title,
        "prediction": canvas.description.prediction,
        "data": f"{len(items)} pictures on the canvas",
        "steps": steps,
        "samples": steps * settings.batch,
        "rate": settings.optimiser.rate,
        "seed": settings.seed,
        "loss at first and in the end": [round(float(loss), 5) for loss in losses],
    }


def _as_network(adapter, training: dict) -> network.Network:
    """The adapter as Load HanDrawer would give it: through a file, so that what is tried is what is saved."""
    handle, name = tempfile.mkstemp(suffix=".safetensors", prefix="handrawer_")
    os.close(handle)
    try:
        save(name, adapter, training=training, overwrite=True)
        made = network.load_network(name)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)
    return network.Network("the trained adapter", made.adapter, made.metadata, made.patcher)


def _first(value):
    return value[0] if isinstance(value, list) else value
