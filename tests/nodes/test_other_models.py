"""Models that HanDrawer does not steer are refused by name, with what works instead."""

import pytest

from tests.nodes.canvas import Canvas, one_hand
from tests.nodes.other_models import CONFIGS, make_other


@pytest.fixture(scope="module")
def features(sd15: Canvas):
    return sd15.features(one_hand(112, 72))


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_without_the_right_unet_are_refused(features, nodes, kind: str):
    try:
        model = make_other(kind)
    except LookupError as error:
        pytest.skip(str(error))
    with pytest.raises(
        ValueError, match=rf"^model: HanDrawer steers .*SDXL.*\({kind}\).*depth and the mask.*ControlNet"
    ):
        nodes("steering").steer(model, features, "1", 1.0, 0.0, 1.0)
