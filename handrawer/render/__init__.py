"""Hands to pictures: an exact rasteriser and the pictures made with it (depth, normals, parts, mask, skeleton)."""
