"""HanDrawer itself: graph network, fusion, position-preserving zero padding, UNet descriptions, checkpoint."""
