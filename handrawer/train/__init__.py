"""Losses, data and loops: the autoencoder, the base and its HanDrawer adapter in one stage."""
