"""Position preserving means sub-pixel: what goes in at a place of the picture is read back at that place."""

import dataclasses

import pytest
import torch

from benchmarks.ppzp import LEVELS, measure
from handrawer.adapter.fusion import describe_cells
from handrawer.adapter.grid import cell_edges, subdivide
from handrawer.adapter.ppzp import box_in_cells, full_window


@pytest.mark.parametrize("level", LEVELS)
def test_impulses_ramps_and_boxes_stay_where_they_are(level):
    """Random sub-cell offsets, clipped boxes, boxes smaller than a cell, odd grids: under 0.02 cells."""
    errors = measure(level, count=150)
    for name in ("impulse", "ramp", "box"):
        assert len(errors[name]) > 300
        assert float(errors[name].max()) < 0.02
    assert float(errors["whole cells"].mean()) > 0.15
    assert float(errors["whole cells, even grid"].mean()) > 0.15


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("latent", [(32, 32), (33, 41)])
def test_a_rendered_hand_moves_by_what_it_was_moved(place, level, latent):
    """The silhouette's centre of mass on the sub-cells, against the projected mesh moved by sub-cell steps."""
    height, width = latent
    steps = torch.arange(5) * 0.00137
    inputs = place(*[(float(s) - 0.01, 0.08 + float(s) * 0.7, 0.9) for s in steps], width=8 * width, height=8 * height)
    moved = box_in_cells(inputs.box, height, width)
    window = full_window(level, height, width)
    cells = describe_cells(moved, inputs.geometry, window, 4, 2)
    coverage = cells.geometry.unflatten(-1, (8, 4, 4))[..., 0, :, :]  # [N, h, w, 4, 4]
    found = []
    for edges, axes in ((window.columns, (1, 3)), (window.rows, (2, 4))):
        place_of = subdivide(edges, 4)
        middle = (place_of[1:] + place_of[:-1]) / 2
        along = coverage.sum(axes).flatten(1)
        found.append((along * middle).sum(1) / along.sum(1))
    found = torch.stack(found, 1)
    wanted = moved[:, :2] - moved[:1, :2]
    assert float((found - found[:1] - wanted).abs().max()) / 2**level < 0.02


def test_a_ramp_over_the_picture_is_read_at_the_measured_cell_centres(place):
    """Depth replaced by the picture's x: cells inside the hand's box read their own centres."""
    inputs = place((0.0, 0.05, 0.5))
    x0, _, x1, _ = box_in_cells(inputs.box, 32, 32)[0].tolist()
    size = inputs.geometry.shape[-1]
    ramp = x0 + (x1 - x0) * (torch.arange(size) + 0.5) / size
    geometry = torch.stack([torch.ones(1, size, size), ramp.expand(1, size, size)], 1)
    inputs = dataclasses.replace(inputs, geometry=geometry)
    for level in (0, 1, 2):
        window = full_window(level, 32, 32)
        cells = describe_cells(box_in_cells(inputs.box, 32, 32), inputs.geometry, window, 4, 2)
        read = cells.geometry.unflatten(-1, (2, 16))
        whole = (read[..., 0, :] > 0.999).all(-1)
        edges = cell_edges(level, window.width)
        centre = ((edges[1:] + edges[:-1]) / 2).expand(1, window.height, -1)
        assert int(whole.sum()) > 3
        assert float((read[..., 1, :].mean(-1) - centre)[whole].abs().max()) / 2**level < 0.02
