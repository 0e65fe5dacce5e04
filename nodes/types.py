"""The project's socket types and what runs over them."""

from comfy_api.latest import io

Hands = io.Custom("HANDS")
"""`handrawer.hand.hands.Hands`: for each picture of a batch, the hands in it. Never changed in place."""

HanDrawerModel = io.Custom("HANDRAWER")
"""`nodes.network.Network`: a HanDrawer adapter, in the host's care."""

Features = io.Custom("HANDRAWER_FEATURES")
"""`nodes.network.Features`: hands through the adapter's GCN, with the maps made from them so far."""

HandModel = io.Custom("HANDRAWER_HAND_MODEL")
"""`handrawer.hand.model.HandModel`: mesh, joints, skinning and shapes of a hand. Never changed in place."""
