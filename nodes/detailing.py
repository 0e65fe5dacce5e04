"""HanDrawer in the Impact Pack's detailers: every segment gets the hands of its own crop.

A segment of SEGS has a place for what its ControlNet or IP-Adapter is, ``control_net_wrapper``. A detailer asks it for
the prompts (``apply``) and for the MODEL (``doit_ipadapter``) before it draws that segment. Used by these names alone;
nothing of the pack is imported.
"""

import copy
from typing import Any

from comfy_api.latest import io

from . import network, placing, regions, sampling, steering
from .network import View
from .outputs import STEERING
from .transforms import Segs


class SegmentSteering:
    """What a segment says to the detailer: which MODEL and prompts draw its crop.

    Whatever stood in its place before, a ControlNet say, comes first.
    """

    control_image = None  # what the pack's own have: a picture to look at

    def __init__(self, key: str, features: network.Features, settings: tuple, view: View, before: Any) -> None:
        """settings: strength, start and end percent; before: what the segment had there, or None."""
        self.key, self.features, self.settings, self.view, self.before = key, features, settings, view, before

    def apply(self, positive, negative, *args, **kwargs) -> tuple[Any, Any, list]:
        """The prompts for this segment, and pictures to show."""
        shown = []
        if self.before is not None:
            positive, negative, shown = self.before.apply(positive, negative, *args, **kwargs)
        positive = sampling.tagged(positive, self.key, sampling.POSITIVE)
        return positive, sampling.tagged(negative, self.key, sampling.NEGATIVE), shown

    def doit_ipadapter(self, model) -> tuple[Any, list]:
        """The MODEL for this segment, and pictures to show. The name is the pack's."""
        shown = []
        if self.before is not None:
            model, shown = self.before.doit_ipadapter(model)
        return steering.steer(model, self.features, self.key, *self.settings, view=self.view), shown


def with_steering(segment: Any, steering_of: Any) -> Any:
    """A segment with something new in its place for ControlNets; the old one is left as it is."""
    if isinstance(segment, dict):
        return {**segment, "control_net_wrapper": steering_of}
    if hasattr(segment, "_replace"):
        return segment._replace(control_net_wrapper=steering_of)
    changed = copy.copy(segment)
    changed.control_net_wrapper = steering_of
    return changed


def before_of(segment: Any) -> Any:
    get = segment.get if isinstance(segment, dict) else lambda name: getattr(segment, name, None)
    return get("control_net_wrapper")


class HanDrawerApplySegs(io.ComfyNode):
    """Features onto SEGS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerApplySegs",
            display_name="Apply HanDrawer (SEGS)",
            category=STEERING,
            description=(
                "Makes the Impact Pack's detailers draw the hands where they are: each segment's crop gets the hands "
                "that lie in it. Put it between the SEGS and the detailer; MODEL and prompts go straight to the "
                "detailer."
            ),
            inputs=[
                Segs.Input("segs", tooltip="Segments of the picture that the hands lie in."),
                steering.features_input(),
                *steering.run_time_controls(),
            ],
            outputs=[
                Segs.Output(id="segs_out", display_name="SEGS", tooltip="The same segments, each with its hands.")
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, segs, features: network.Features, strength: float, start_percent: float, end_percent: float
    ) -> io.NodeOutput:
        steering.check_range(start_percent, end_percent)
        sizes = set(features.sizes)
        if len(sizes) > 1:
            raise ValueError("features: the pictures of these hands differ in size; encode those of one size.")
        width, height = sizes.pop() if sizes else (1, 1)
        with placing.named("segs"):
            crops = regions.crops_of_segs(segs, width, height)
        key, settings = str(cls.hidden.unique_id), (strength, start_percent, end_percent)
        changed = [
            with_steering(segment, SegmentSteering(key, features, settings, View(crop), before_of(segment)))
            for segment, crop in zip(segs[1], crops, strict=True)
        ]
        return io.NodeOutput((segs[0], changed))
