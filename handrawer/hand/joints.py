"""The names and the tree of the 21 joints that every interface of HanDrawer speaks of.

The order is that of MediaPipe's hand landmarks and of OpenPose's hand keypoints: the wrist, then thumb, index, middle,
ring and little finger, each from its base to its tip.
"""

from __future__ import annotations

FINGER_NAMES: tuple[str, ...] = ("thumb", "index", "middle", "ring", "little")

_THUMB_PARTS = ("cmc", "mcp", "ip", "tip")
_FINGER_PARTS = ("mcp", "pip", "dip", "tip")

JOINT_NAMES: tuple[str, ...] = ("wrist",) + tuple(
    f"{finger}_{part}" for finger in FINGER_NAMES for part in (_THUMB_PARTS if finger == "thumb" else _FINGER_PARTS)
)
"""21 names: wrist, thumb_cmc, thumb_mcp, thumb_ip, thumb_tip, index_mcp, index_pip, index_dip, index_tip, ..."""

JOINT_PARENTS: tuple[int, ...] = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
"""For each of the 21 joints the index of the joint nearer to the wrist; -1 for the wrist itself."""

FINGERS: dict[str, tuple[int, int, int, int]] = {
    finger: (1 + 4 * i, 2 + 4 * i, 3 + 4 * i, 4 + 4 * i) for i, finger in enumerate(FINGER_NAMES)
}
"""Finger name to its four joints among the 21, base to tip."""

RIG_JOINTS: tuple[int, ...] = (0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19)
"""The 16 of the 21 joints about which something turns, in rig order: wrist, then three a finger, base to tip."""

TIP_JOINTS: tuple[int, ...] = (4, 8, 12, 16, 20)
"""The 5 of the 21 joints that are fingertips, thumb to little finger."""

RIG_PARENTS: tuple[int, ...] = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""For each of the 16 rig joints its parent in rig order; -1 for the wrist."""

RIG_JOINT_NAMES: tuple[str, ...] = tuple(JOINT_NAMES[i] for i in RIG_JOINTS)
