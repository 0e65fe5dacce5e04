"""The canvas: thin nodes, and the only part of the project that imports the host.

A node converts at the door, calls the library, and converts back. Node ids are frozen (saved workflows hold them);
inputs are only ever appended.
"""

from comfy_api.latest import ComfyExtension, io

from . import folders, mano, routes
from .adapter import HanDrawerApply, HanDrawerEncodeHands, HanDrawerUNetLoader
from .advanced import HanDrawerApplyAdvanced
from .batches import HanDrawerHandsFromBatch
from .card import HanDrawerFileCard
from .detailing import HanDrawerApplySegs
from .estimate import HanDrawerEstimateHands, HanDrawerEstimateHandsAdvanced
from .exporting import HanDrawerExportMesh
from .hands import HanDrawerExamplePicture, HanDrawerGesture, HanDrawerPlaceHands
from .judging import HanDrawerPickBest, HanDrawerScoreHands
from .library import HanDrawerPoseLibrary, HanDrawerSavePose
from .load import HanDrawerLoad, HanDrawerLoadMini
from .mano import HanDrawerConvertHands, HanDrawerLoadHandModel
from .poser import HanDrawerPoser
from .rendering import HanDrawerHandMask, HanDrawerRenderHands
from .repair import HanDrawerCropHands, HanDrawerSegsFromHands, HanDrawerStitchHands
from .saving import HanDrawerSaveImage
from .selecting import HanDrawerJoinHands, HanDrawerSelectHands
from .sources import HanDrawerHandsFromPose, HanDrawerLoadHands, HanDrawerPoseFromHands, HanDrawerSaveHands
from .training import HanDrawerSave, HanDrawerTrain
from .transforms import HanDrawerPasteHandsBack, HanDrawerTransformHands
from .video import HanDrawerSmoothHands

NODES: list[type[io.ComfyNode]] = [
    HanDrawerExamplePicture,
    HanDrawerEstimateHands,
    HanDrawerEstimateHandsAdvanced,
    HanDrawerGesture,
    HanDrawerPlaceHands,
    HanDrawerRenderHands,
    HanDrawerHandMask,
    HanDrawerExportMesh,
    HanDrawerLoadMini,
    HanDrawerLoad,
    HanDrawerEncodeHands,
    HanDrawerApply,
    HanDrawerApplyAdvanced,
    HanDrawerUNetLoader,
    HanDrawerHandsFromBatch,
    HanDrawerFileCard,
    HanDrawerHandsFromPose,
    HanDrawerPoseFromHands,
    HanDrawerLoadHands,
    HanDrawerSaveHands,
    HanDrawerSelectHands,
    HanDrawerJoinHands,
    HanDrawerTransformHands,
    HanDrawerPasteHandsBack,
    HanDrawerLoadHandModel,
    HanDrawerConvertHands,
    HanDrawerSmoothHands,
    HanDrawerPoser,
    HanDrawerTrain,
    HanDrawerSave,
    HanDrawerApplySegs,
    HanDrawerPoseLibrary,
    HanDrawerSavePose,
    HanDrawerScoreHands,
    HanDrawerPickBest,
    HanDrawerCropHands,
    HanDrawerStitchHands,
    HanDrawerSegsFromHands,
    HanDrawerSaveImage,
]


class HanDrawerExtension(ComfyExtension):
    """What the host asks for the list of nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        folders.register()
        mano.register()
        routes.register()
        return NODES
