"""Nodes for which hands are meant, and for putting hands together."""

import dataclasses

import torch
from comfy_api.latest import io

from ..handrawer.hand.batch import join, merge
from ..handrawer.hand.hands import Frame, Hand, Hands
from ..handrawer.hand.select import WAYS, choose_hands, parse_numbers
from . import placing, types
from .outputs import PLACING, hands_output, note_output

OTHERS = ("drop", "keep", "switch off")
UNCHANGED = "unchanged"
ORDERS = (UNCHANGED, "by depth", "in front", "behind")


class HanDrawerSelectHands(io.ComfyNode):
    """Some of the hands, changed if wanted."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerSelectHands",
            display_name="Select Hands",
            category=PLACING,
            description=(
                "Chooses hands in each picture and says what becomes of them and of the others: kept, switched off, "
                "weighted, moved to the front, or taken for the other side. No match is no error: the note says so."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="Hands to choose from."),
                io.Combo.Input(
                    "choose", options=list(WAYS),
                    tooltip="Which hands, in each picture: all; by their numbers; the person's own left or right; the "
                    "largest one; the one nearest to x, y.",
                ),
                io.String.Input(
                    "numbers", default="0",
                    tooltip="For numbers: as the overlay shows them, like 0,2 or 1-3. -1 is the last hand.",
                ),
                io.Float.Input(
                    "x", default=0.5, min=-1.0, max=2.0, step=0.01,
                    tooltip="For nearest: from the picture's left (0) to its right (1).",
                ),
                io.Float.Input(
                    "y", default=0.5, min=-1.0, max=2.0, step=0.01,
                    tooltip="For nearest: from the picture's top (0) to its bottom (1).",
                ),
                io.Boolean.Input("invert", default=False, tooltip="Chooses all the other hands instead."),
                io.Combo.Input(
                    "others", options=list(OTHERS),
                    tooltip="What becomes of the hands that are not chosen: left out, kept as they are, or kept but "
                    "switched off.",
                ),
                io.Combo.Input(
                    "enabled", options=[UNCHANGED, "on", "off"],
                    tooltip="Switches the chosen hands on or off. A hand that is off keeps its number, but is not "
                    "drawn and does not steer.",
                ),
                io.Float.Input(
                    "weight", default=1.0, min=0.0, max=4.0, step=0.05,
                    tooltip="Multiplies how strongly the chosen hands steer.",
                ),
                io.Combo.Input(
                    "order", options=list(ORDERS),
                    tooltip="Which hand covers which: by depth, or the chosen ones in front of or behind all others.",
                ),
                io.Combo.Input(
                    "side", options=[UNCHANGED, "left", "right", "the other"],
                    tooltip="Where the side is wrong: fits the chosen hands again, to the same points, as the person's "
                    "own left or right hand. The palm is where the back was then.",
                ),
            ],
            outputs=[
                hands_output("The chosen hands, and the others if they are kept."),
                types.Hands.Output(
                    id="others_out", display_name="others", tooltip="The hands that were not chosen, unchanged."
                ),
                io.String.Output(id="note_out", display_name="note", tooltip="Which hands were chosen."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, hands: Hands, choose: str, numbers: str, x: float, y: float, invert: bool, others: str, enabled: str,
        weight: float, order: str, side: str,
    ) -> io.NodeOutput:  # fmt: skip
        from ..handrawer.estimate.sides import with_side

        with placing.named("numbers"):
            listed = parse_numbers(numbers) if choose == "numbers" else ()
        chosen, left_over, notes = [], [], []
        for frame in hands.frames:
            places = choose_hands(frame, choose, numbers=listed, x=x, y=y, invert=invert)
            notes.append(_what_was_chosen(frame, places))
            left_over.append(_only(frame, [n for n in range(len(frame.hands)) if n not in places]))
            with placing.named("side"), torch.inference_mode(False):
                for wanted, which in _sides(frame, places, side).items():
                    frame = with_side(frame, which, wanted)
            changed = [
                _changed(hand, enabled, weight, _order(frame, places, order, hand.z_order)) if n in places
                else hand.replace(enabled=False) if others == "switch off" else hand
                for n, hand in enumerate(frame.hands)
            ]  # fmt: skip
            frame = dataclasses.replace(frame, hands=tuple(changed))
            chosen.append(_only(frame, list(places)) if others == "drop" else frame)
        many = len(notes) > 1
        note = "\n".join(f"Picture {n}: {said}" if many else said for n, said in enumerate(notes))
        return io.NodeOutput(Hands(tuple(chosen)), Hands(tuple(left_over)), note)


def _only(frame: Frame, places: list[int]) -> Frame:
    return dataclasses.replace(frame, hands=tuple(frame.hands[n] for n in places))


def _what_was_chosen(frame: Frame, places: tuple[int, ...]) -> str:
    def names(which) -> str:
        return ", ".join(f"hand {n} ({frame.hands[n].side})" for n in which)

    if places:
        return f"Chosen: {names(places)}."
    if frame.hands:
        return f"Nothing chosen of {names(range(len(frame.hands)))}."
    return " ".join(["Nothing chosen: there is no hand.", frame.note]).strip()


def _sides(frame: Frame, places: tuple[int, ...], side: str) -> dict[str, list[int]]:
    """Which hands are to become left and right ones."""
    if side == UNCHANGED:
        return {}
    if side != "the other":
        return {side: list(places)}
    return {
        "left": [n for n in places if not frame.hands[n].left],
        "right": [n for n in places if frame.hands[n].left],
    }


def _order(frame: Frame, places: tuple[int, ...], order: str, before: int | None) -> int | None:
    """The chosen hands' z order; hands without one lie at 0."""
    if order == UNCHANGED:
        return before
    if order == "by depth":
        return None
    others = [hand.z_order or 0 for n, hand in enumerate(frame.hands) if n not in places]
    return max(others, default=0) + 1 if order == "in front" else min(others, default=0) - 1


def _changed(hand: Hand, enabled: str, weight: float, z_order: int | None) -> Hand:
    on = hand.enabled if enabled == UNCHANGED else enabled == "on"
    return hand.replace(enabled=on, weight=hand.weight * weight, z_order=z_order)


class HanDrawerJoinHands(io.ComfyNode):
    """Hands of several sources together."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerJoinHands",
            display_name="Join Hands",
            category=PLACING,
            description=(
                "Puts hands together: into the same pictures, or as pictures one after another. Pictures of another "
                "size are placed on the first one's, without stretching. Also repeats a batch."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="The first hands; their pictures' size counts."),
                io.Combo.Input(
                    "mode", options=["same pictures", "one after another"],
                    tooltip="same pictures: all hands in each picture; fewer pictures repeat in turn. one after "
                    "another: a longer batch.",
                ),
                io.Int.Input(
                    "repeat", default=1, min=1, max=4096,
                    tooltip="Repeats the whole result so often, as Repeat Latent Batch does.",
                ),
                types.Hands.Input("more", optional=True, tooltip="Hands that are added."),
            ],
            outputs=[hands_output("All of them."), note_output()],
        )  # fmt: skip

    @classmethod
    def execute(cls, hands: Hands, mode: str, repeat: int, more: Hands | None = None) -> io.NodeOutput:
        with torch.inference_mode(False):
            if more is not None and mode == "same pictures":
                joined, placed = merge(hands, more)
            else:
                joined, placed = join([hands] if more is None else [hands, more])
        joined = Hands(joined.frames * repeat)
        notes = [placing.note_of(joined)]
        if placed:
            first = joined.frames[0]
            notes.insert(0, f"Hands of pictures of another size were placed on {first.width} x {first.height} pixels.")
        return io.NodeOutput(joined, "\n".join(note for note in notes if note))
