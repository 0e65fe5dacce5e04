"""What a HanDrawer file is, on the canvas."""

import folder_paths
from comfy_api.latest import io, ui

from . import folders
from .outputs import STEERING


class HanDrawerFileCard(io.ComfyNode):
    """The card of a HanDrawer file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerFileCard",
            display_name="HanDrawer File Card",
            category=STEERING,
            description=(
                "Shows what a HanDrawer file is made for: base model, hand model, format, size, and what its training "
                "wrote down. Its weights are not read."
            ),
            inputs=[
                io.Combo.Input(
                    "handrawer_name",
                    options=[folders.MINI, *folder_paths.get_filename_list(folders.FOLDER)],
                    tooltip="A file of models/handrawer, or the small model's.",
                )
            ],
            outputs=[
                io.String.Output(id="card_out", display_name="card", tooltip="The card as text, one fact a line.")
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, handrawer_name: str, **_others) -> str:
        return folders.stamp(handrawer_name)

    @classmethod
    def execute(cls, handrawer_name: str) -> io.NodeOutput:
        from ..handrawer.adapter.card import card

        path = folders.handrawer_file(handrawer_name)
        try:
            text = card(path)
        except ValueError as error:
            raise ValueError(f"handrawer_name: {error}") from error
        return io.NodeOutput(text, ui=ui.PreviewText(text))
