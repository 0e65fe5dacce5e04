"""What the library says of some hands, for the tests of the page's mathematics."""

import json
from pathlib import Path

import torch

from handrawer.hand.anatomy import sample_angles
from handrawer.hand.camera import Camera, project
from handrawer.hand.library import describe_pose, library, search
from handrawer.hand.poser import (
    PosedHandState,
    PoserState,
    browser_model,
    dump_state,
    parse_state,
    start_state,
    state_to_frame,
)

SIZE = 512
SEARCHES = (
    "",
    "count, chinese",
    "ピースサイン",
    "ぴーす",
    "持つ、グラス",
    "比耶",
    "数字，捏拢",
    "ＶＵＬＣＡＮ",
    "zebra",
)


def states() -> list[PosedHandState]:
    """Hands of both sides in all directions, off the centre, of several shapes."""
    generator = torch.Generator().manual_seed(7)
    angles = sample_angles(8, generator)
    found = []
    for place, pose in enumerate(angles):
        turned = torch.randn(3, generator=generator, dtype=torch.float64) * (0.2 + 0.25 * place)
        where = torch.tensor([-0.1, 0.02, 0.6]) + 0.05 * torch.randn(3, generator=generator)
        shape = torch.randn(4, generator=generator).clamp(-2, 2)
        found.append(
            PosedHandState(
                side=("right", "left")[place % 2],
                angles=tuple(round(float(x), 6) for x in pose),
                orientation=tuple(round(float(x), 6) for x in turned),
                translation=tuple(round(float(x), 6) for x in where),
                shape=tuple(round(float(x), 6) for x in shape),
                camera=Camera(1.5 + 0.1 * place, 0.5 + 0.02 * place, 0.5),
            )
        )
    return found


def hand_of(state: PosedHandState) -> dict:
    return json.loads(dump_state(PoserState(SIZE, SIZE, (state,))))["hands"][0]


def posed(state: PosedHandState) -> dict:
    frame = state_to_frame(PoserState(640, 400, (state,)), 640, 400)
    (hand,) = frame.hands
    pixels = project(hand.joints, hand.camera, 640, 400) * torch.tensor([640, 400])
    return {
        "hand": hand_of(state),
        "vertices": hand.vertices.tolist(),
        "joints": hand.joints.tolist(),
        "projected": pixels.tolist(),
        "width": 640,
        "height": 400,
    }


def reachable() -> list[dict]:
    """A relaxed hand, and other possible angles of one of its fingers: its tip can be pulled to where they put it."""
    start = start_state().hands[0]
    generator = torch.Generator().manual_seed(3)
    found = []
    for place, pose in enumerate(sample_angles(60, generator)):
        finger = place % 5
        own = range(5) if finger == 0 else range(5 + 4 * (finger - 1), 9 + 4 * (finger - 1))
        angles = list(start.angles)
        for i in own:
            angles[i] = float(pose[i])
        found.append({"hand": hand_of(start), "finger": finger, "angles": angles})
    return found


def write_cases(path: Path) -> Path:
    hands = states()
    state = PoserState(SIZE, SIZE, tuple(hands[:2]))
    placed = []
    for width, height in ((768, 512), (300, 900)):
        frame = state_to_frame(state, width, height)
        cameras = [[hand.camera.focal, hand.camera.cx, hand.camera.cy] for hand in frame.hands]
        placed.append({"width": width, "height": height, "cameras": cameras})
    text = dump_state(state)
    assert parse_state(text) == state
    data = {
        "model": browser_model(),
        "posed": [posed(state) for state in hands],
        "state": text,
        "placed": placed,
        "reachable": reachable(),
        "poses": [describe_pose(pose) for pose in library().values()],
        "searches": {words: [pose.name for pose in search(library().values(), words)] for words in SEARCHES},
    }
    path.write_text(json.dumps(data), encoding="utf-8")
    return path
