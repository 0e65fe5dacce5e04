"""The node from hands to meshes."""

from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..handrawer.hand.hands import Hands
from . import json_files, placing, types
from .outputs import PICTURES, note_output

FORMATS = ("glb", "obj")


class Meshes:
    """What the host's MESH is: vertices [N, V, 3] and faces [N, F, 3]. Its own class has another home in each version.

    Hands of several models have meshes of several sizes: the smaller ones end in faces of no area.
    """

    def __init__(self, vertices: torch.Tensor, faces: torch.Tensor) -> None:
        self.vertices = vertices
        self.faces = faces


class HanDrawerExportMesh(io.ComfyNode):
    """Hands to files of meshes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerExportMesh",
            display_name="Export Hand Mesh",
            category=PICTURES,
            description=(
                "Writes the posed hands as meshes for Blender and other 3D programs, one file for each picture, to "
                "ComfyUI's output folder; and sends them to the host's 3D nodes. Pictures without hands have no file."
            ),
            is_output_node=True,
            inputs=[
                types.Hands.Input("hands", tooltip="The hands; those that are switched off are left out."),
                io.String.Input(
                    "filename_prefix", default="mesh/hands",
                    tooltip="The files' name; a number is added, and no file is ever overwritten. Folders and words "
                    "like %year% work as in Save Image.",
                ),
                io.Combo.Input(
                    "format", options=list(FORMATS),
                    tooltip="glb: glTF, one object for each hand, for nearly every program. obj: Wavefront's text.",
                ),
            ],
            outputs=[
                io.Mesh.Output(id="mesh_out", display_name="mesh", tooltip="All hands of all pictures, for Save GLB."),
                io.String.Output(
                    id="file_out", display_name="file", tooltip="The first file that was written, for Preview 3D."
                ),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, hands: Hands, filename_prefix: str, format: str) -> io.NodeOutput:
        from ..handrawer.render.export import hand_meshes, to_glb, to_obj

        written, found, notes = [], [], []
        for place, frame in enumerate(hands.frames):
            with torch.inference_mode(False), torch.no_grad():
                meshes = hand_meshes(frame)
            if not meshes:
                notes.append(f"Picture {place}: no hand, no file." if len(hands.frames) > 1 else "No hand, no file.")
                continue
            data = to_glb(meshes) if format == "glb" else to_obj(meshes).encode()
            with placing.named("filename_prefix"):
                written.append(json_files.write_beside(filename_prefix, data, frame.width, frame.height, f".{format}"))
            found += meshes
        note = "\n".join(notes)
        said = "\n".join([*written, *notes]) or "No hand, no file."
        shown: dict[str, Any] = {"3d": [_result(name) for name in written], **ui.PreviewText(said).as_dict()}
        return io.NodeOutput(_stacked(found), written[0] if written else "", note, ui=shown)


def _result(name: str) -> dict[str, str]:
    path = Path(name)
    folder = "" if path.parent == Path() else path.parent.as_posix()
    return {"filename": path.name, "subfolder": folder, "type": "output"}


def _stacked(meshes: list) -> Meshes:
    vertices = max((len(mesh.vertices) for mesh in meshes), default=0)
    faces = max((len(mesh.faces) for mesh in meshes), default=0)
    points = torch.zeros(len(meshes), vertices, 3)
    corners = torch.zeros(len(meshes), faces, 3, dtype=torch.int64)
    for place, mesh in enumerate(meshes):
        points[place, : len(mesh.vertices)] = mesh.vertices
        points[place, len(mesh.vertices) :] = mesh.vertices[0]
        corners[place, : len(mesh.faces)] = mesh.faces
    return Meshes(points, corners)
