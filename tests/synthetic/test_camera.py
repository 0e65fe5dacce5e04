"""What the camera does."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from handrawer.synthetic import camera
from handrawer.synthetic.options import CAMERA


def scene(size=64):
    small = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(small, (size, size), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_compression_loses_what_jpeg_loses(quality):
    picture = scene(96)
    image = Image.fromarray((picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    wanted = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
    found = camera.compressed(picture, torch.tensor([float(quality)]))[0]
    assert float((found - wanted).abs().mean()) < 0.006
    loss = float((found - picture[0]).abs().mean())
    assert loss == pytest.approx(float((wanted - picture[0]).abs().mean()), rel=0.25)


def test_blur_spreads_and_keeps_the_light():
    spot = torch.zeros(2, 1, 33, 33)
    spot[:, :, 16, 16] = 1
    found = camera.blur(spot, torch.tensor([0.0, 2.0]), 8)
    assert torch.equal(found[0], spot[0])
    assert float(found[1].sum()) == pytest.approx(1, abs=1e-4)
    step = torch.arange(33.0) - 16
    assert float((found[1, 0].sum(0) * step**2).sum()) == pytest.approx(4, rel=0.02)
    even = torch.full((1, 3, 20, 20), 0.4)
    assert torch.allclose(camera.blur(even, torch.tensor([3.0]), 9), even, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in CAMERA if name != "motion_blur"])
def test_only_the_chosen_pictures_change(name):
    pictures = scene(192).expand(4, -1, -1, -1)
    chosen = {key: torch.zeros(4, dtype=torch.bool) for key in CAMERA}
    chosen[name][[1, 3]] = True
    found = camera.photographed(pictures, 5, torch.arange(4), chosen)
    assert torch.equal(found[[0, 2]], pictures[[0, 2]])
    assert all(float((found[k] - pictures[k]).abs().mean()) > 2e-5 for k in (1, 3))
    assert not torch.equal(found[1], found[3]) and float(found.min()) >= 0 and float(found.max()) <= 1


def test_light_follows_the_gain_and_colours_the_balance():
    picture = torch.full((1, 3, 16, 16), 0.5)
    darker = camera._lit(picture, torch.tensor([[0.5, 0.5, 0.5]]))
    assert float(darker.mean()) == pytest.approx(0.5 * 0.5 ** (1 / 2.2), rel=1e-4)
    warm = camera._lit(picture, torch.tensor([[1.2, 1.0, 0.8]]))
    assert float(warm[0, 0].mean()) > float(warm[0, 1].mean()) > float(warm[0, 2].mean())
    bright = camera._lit(scene(), torch.tensor([[1.8] * 3]))
    assert float(bright.max()) <= 1 and float(bright.mean()) > float(scene().mean())


def test_noise_grows_with_the_light():
    index, shot, read = torch.arange(1), torch.tensor([0.004]), torch.tensor([0.004])
    deviations = [
        float(camera._noisy(torch.full((1, 3, 64, 64), level), 1, index, shot, read).std()) for level in (0.1, 0.6)
    ]
    assert 1.5 * deviations[0] < deviations[1] < 0.1


def test_motion_blurs_along_one_way():
    pictures = torch.zeros(1, 1, 64, 64)
    pictures[..., 28:36, 28:36] = 1
    found = camera.moved(pictures, 1, torch.tensor([3]), torch.tensor([True]))
    assert float(found.sum()) == pytest.approx(float(pictures.sum()), rel=0.02)
    assert int((found > 0.01).sum()) > int(pictures.sum())
    assert camera.moved(pictures, 1, torch.tensor([3]), torch.tensor([False])) is pictures
