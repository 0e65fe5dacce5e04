"""Nodes for hand models other than the one that ships: loading the user's own, and carrying hands over."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..handrawer.hand.hands import Hands
from ..handrawer.hand.mano_files import FILE_TYPES
from ..handrawer.hand.model import HandModel, known_model, load_open_hand, register_model
from . import types
from .outputs import STEERING, hands_output, note_output

FOLDER = "hand_models"  # key for extra_model_paths.yaml, and the folder below models/
OPEN = "open hand (comes with HanDrawer)"


def register() -> None:
    """Make ``models/hand_models`` known to the host; a path of the user's extra_model_paths.yaml stays first."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    folder_paths.folder_names_and_paths[FOLDER][1].update(FILE_TYPES)


def model_files() -> list[str]:
    """Names of the user's hand models, sorted."""
    register()  # schemas are asked for before the list of nodes in some hosts
    return folder_paths.get_filename_list(FOLDER)


def file_path(name: str) -> Path:
    """Where a file of ``models/hand_models`` lies.

    Raises:
        ValueError: it is gone.
    """
    register()
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        raise ValueError(f"file: {name} is not in models/{FOLDER} any more; put it back or choose another.")
    return Path(path)


def found_model(name: str) -> HandModel | None:
    """The hand model of that name: the open hand, one that was loaded, or MANO where exactly one file is there.

    A workflow that only needs the model (an adapter that was trained with it) thus needs no node that loads it.

    Raises:
        ValueError: the one file is no MANO model; the sentence names it.
    """
    from ..handrawer.hand.mano import load_mano

    with torch.inference_mode(False):  # kept for callers outside of it
        found = known_model(name)
        files = model_files() if found is None and name == "mano" else []
        return load_mano(file_path(files[0])) if len(files) == 1 else found


class HanDrawerLoadHandModel(io.ComfyNode):
    """A hand model from the user's own file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerLoadHandModel",
            display_name="Load Hand Model",
            category=STEERING,
            description=(
                "A hand model for Convert Hands: your own MANO file from ComfyUI's folder models/hand_models, or the "
                "open hand. MANO is for non-commercial use and does not come with HanDrawer."
            ),
            inputs=[
                io.Combo.Input(
                    "file", options=[OPEN, *model_files()],
                    tooltip="MANO_RIGHT.pkl, MANO_LEFT.pkl, or one of them re-saved as .pkl, .npz or .safetensors. "
                    "Either serves both sides. Nothing in it is ever run.",
                ),
                io.Boolean.Input(
                    "keep", default=False, label_on="as .safetensors", label_off="no",
                    tooltip="Write what was read beside the file as .safetensors, which holds nothing but numbers. No "
                    "file is overwritten.",
                ),
                io.Boolean.Input(
                    "mend_left", default=True,
                    tooltip="The official MANO_LEFT.pkl has its shapes mirrored the wrong way; mend them. Off: as in "
                    "the file, which is what smplx does.",
                ),
            ],
            outputs=[
                types.HandModel.Output(
                    id="hand_model_out", display_name="hand_model", tooltip="The hand model, for Convert Hands."
                ),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, file: str, **others) -> str:
        if file == OPEN:
            return file
        try:
            found = file_path(file).stat()
        except (ValueError, OSError):
            return file  # reading it says what is wrong
        return f"{file} {found.st_size} {found.st_mtime_ns} {sorted(others.items())}"

    @classmethod
    def execute(cls, file: str, keep: bool, mend_left: bool) -> io.NodeOutput:
        if file == OPEN:
            return io.NodeOutput(load_open_hand(), "")
        from ..handrawer.hand.mano import mano_model
        from ..handrawer.hand.mano_files import read_mano, save_mano

        path = file_path(file)
        note = ""
        with torch.inference_mode(False):
            try:
                mano = read_mano(path)
                model = mano_model(mano, mend_left=mend_left)
                kept = path.with_suffix(".safetensors")
                if keep and kept.exists():
                    note = f"{kept.name} is there already and was left as it is."
                elif keep:
                    save_mano(mano, kept)
                    note = f"Kept as {kept.name}."
            except ValueError as error:
                raise ValueError(f"file: {error}") from error
            register_model(model)
        return io.NodeOutput(
            model, note, ui=ui.PreviewText(note or f"{path.name}: the {mano.side} hand, for both sides")
        )


class HanDrawerConvertHands(io.ComfyNode):
    """Hands of one model brought over to another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerConvertHands",
            display_name="Convert Hands",
            category=STEERING,
            description=(
                "Carries hands over to another hand model: the same pose and place, and the same skin as far as the "
                "model's shapes reach. Hands of that model already stay as they are."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="Hands of any hand model."),
                types.HandModel.Input("hand_model", tooltip="The model that they shall have, from Load Hand Model."),
            ],
            outputs=[hands_output("The hands, all of that model."), note_output()],
        )

    @classmethod
    def execute(cls, hands: Hands, hand_model: HandModel) -> io.NodeOutput:
        from ..handrawer.hand.convert import refit_for

        with torch.inference_mode(False):
            if hand_model.name != load_open_hand().name:
                register_model(hand_model)  # it may be another file's than the one that was loaded last
            try:
                converted, note = refit_for(hands, hand_model.name)
            except ValueError as error:
                raise ValueError(f"hands: {error}") from error
        return io.NodeOutput(converted, note, ui=ui.PreviewText(note or "Nothing to convert."))
