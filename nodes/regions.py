"""What other nodes cut out of a picture, as transforms. Known by what it has, not by where it comes from; no host here.

STITCHER of Inpaint Crop and Stitch is a dictionary of lists: where the picture lies on a canvas (``canvas_to_orig_x``,
``_y``, ``_w``, ``_h``), and where the crop lies on it (``cropped_to_canvas_*``), which then got the size of
``cropped_mask_for_blend``. SEGS of the Impact Pack is a pair of the picture's (height, width) and a list of segments,
each with its ``crop_region`` (x0, y0, x1, y1).
"""

from typing import Any

from ..handrawer.hand import transform
from ..handrawer.hand.transform import Transform


def of_stitcher(stitcher: Any, picture: int, width: int, height: int) -> Transform:
    """From a picture to the crop that goes with it.

    Args:
        picture: its number; a stitcher of one picture serves all.
        width, height: of the picture, pixels. Crop nodes that scale pictures first keep their shape.

    Raises:
        ValueError: it is no stitcher; or its picture has another shape, as after outpainting.
    """
    try:
        count = len(stitcher["cropped_to_canvas_x"])
        at = picture if count > 1 else 0
        crop = [int(stitcher[f"cropped_to_canvas_{key}"][at]) for key in "xywh"]
        whole = [int(stitcher[f"canvas_to_orig_{key}"][at]) for key in "xywh"]
        out_height, out_width = (int(side) for side in stitcher["cropped_mask_for_blend"][at].shape[-2:])
    except IndexError as error:
        raise ValueError(f"It is of {count} pictures, and there are hands of more.") from error
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError("This is no stitcher of Inpaint Crop and Stitch: connect one of its crop nodes.") from error
    if not transform.keeps_shape(width, height, *whole[2:]):
        raise ValueError(
            f"It was made of a picture of {whole[2]} x {whole[3]} pixels, the hands lie in one of {width} x {height} "
            "and another shape; if the crop node enlarged the picture for outpainting, pad the hands likewise first."
        )
    steps = [
        transform.resize(width, height, whole[2], whole[3]),
        transform.crop(whole[2], whole[3], crop[0] - whole[0], crop[1] - whole[1], crop[2], crop[3]),
        transform.resize(crop[2], crop[3], out_width, out_height),
    ]
    return transform.chain(steps)


def of_segs(segs: Any, number: int, width: int, height: int) -> Transform | None:
    """From a picture to one segment's crop, None where there are no segments.

    Args:
        number: of the segment, from 0.
        width, height: of the picture, pixels.

    Raises:
        ValueError: these are no segments; there is none of that number; their picture has another shape.
    """
    (seg_width, seg_height), regions = _read_segs(segs)
    if not regions:
        return None
    if number >= len(regions):
        raise ValueError(
            f"There is no segment {number}, they are numbered 0 to {len(regions) - 1}; choose one of them."
        )
    _check_shape(width, height, seg_width, seg_height)
    x0, y0, x1, y1 = regions[number]
    fitted = transform.resize(width, height, seg_width, seg_height)
    return fitted.then(transform.crop(seg_width, seg_height, x0, y0, x1 - x0, y1 - y0))


def crops_of_segs(segs: Any, width: int, height: int) -> list[tuple[float, float, float, float]]:
    """(x, y, width, height) of every segment's crop, in pixels of a picture of width x height.

    Raises:
        ValueError: these are no segments, or their picture has another shape.
    """
    (seg_width, seg_height), regions = _read_segs(segs)
    if regions:
        _check_shape(width, height, seg_width, seg_height)
    across, down = width / seg_width, height / seg_height
    return [(x0 * across, y0 * down, (x1 - x0) * across, (y1 - y0) * down) for x0, y0, x1, y1 in regions]


def _read_segs(segs: Any) -> tuple[tuple[int, int], list[tuple[int, int, int, int]]]:
    """Width and height of the picture, and the crop regions."""
    try:
        (height, width), segments = (int(segs[0][0]), int(segs[0][1])), list(segs[1])
        return (width, height), [_region(segment) for segment in segments]
    except (TypeError, KeyError, AttributeError, ValueError, IndexError) as error:
        raise ValueError("These are no segments of the Impact Pack: connect SEGS.") from error


def _check_shape(width: int, height: int, seg_width: int, seg_height: int) -> None:
    if not transform.keeps_shape(width, height, seg_width, seg_height):
        raise ValueError(
            f"They belong to a picture of {seg_width} x {seg_height} pixels, the hands lie in one of {width} x "
            f"{height} and another shape; connect the segments of the hands' picture."
        )


def _region(segment: Any) -> tuple[int, int, int, int]:
    region = segment["crop_region"] if isinstance(segment, dict) else segment.crop_region
    x0, y0, x1, y1 = (round(float(value)) for value in region)
    if x1 <= x0 or y1 <= y0:
        raise ValueError("a segment's crop region is empty")
    return x0, y0, x1, y1
