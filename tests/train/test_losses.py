import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handrawer.train.losses import clean_error, denoising_loss, hand_loss, snr_weight, velocity


def noised(share: float):
    generator = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=generator).unbind(0)
    a = torch.full((3,), share)
    return clean, noise, a, (1 - a**2).sqrt(), generator


@given(st.floats(0.1, 0.99))
def test_every_prediction_type_measures_the_same_clean_latent(share):
    clean, noise, a, s, generator = noised(share)
    guess = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    noisy = a[0] * clean + s[0] * noise
    as_noise = (noisy - a[0] * guess) / s[0]
    as_velocity = (a[0] * noisy - guess) / s[0]
    wanted = (guess - clean) ** 2
    for kind, prediction in (("sample", guess), ("epsilon", as_noise), ("v_prediction", as_velocity)):
        assert torch.allclose(clean_error(prediction, clean, noise, a, s, kind), wanted, atol=2e-4)


def test_a_perfect_prediction_costs_nothing():
    clean, noise, a, s, _ = noised(0.7)
    error = clean_error(velocity(clean, noise, a, s), clean, noise, a, s, "v_prediction")
    assert float(denoising_loss(error, a, s)) < 1e-9


def test_the_hand_loss_sees_the_hand_alone_and_not_its_size():
    clean, _, a, s, _ = noised(0.7)
    error = torch.zeros_like(clean)
    error[..., :4, :4] = 1.0
    small, large = torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 8, 8)
    small[..., :2, :2] = 1.0
    large[..., :4, :4] = 1.0
    elsewhere = torch.zeros(3, 1, 8, 8)
    elsewhere[..., 4:, 4:] = 1.0
    assert float(hand_loss(error, small, a, s)) == pytest.approx(float(hand_loss(error, large, a, s)))
    assert float(hand_loss(error, elsewhere, a, s)) == 0.0
    assert float(hand_loss(error, torch.zeros(3, 1, 8, 8), a, s)) == 0.0


def test_the_weight_is_clamped():
    a = torch.tensor([0.999, 0.5, 0.01])
    weight = snr_weight(a, (1 - a**2).sqrt(), gamma=5.0)
    assert float(weight[0]) == 5.0 and float(weight[1]) == pytest.approx(1 / 3) and float(weight[2]) < 1e-3


def test_the_weight_has_a_floor_where_it_is_asked_for():
    a = torch.tensor([0.999, 0.5, 0.01])
    weight = snr_weight(a, (1 - a**2).sqrt(), gamma=5.0, floor=0.2)
    assert float(weight[0]) == 5.0 and float(weight[1]) == pytest.approx(1 / 3)
    assert float(weight[2]) == pytest.approx(0.2)


def test_an_unknown_kind_is_named():
    clean, noise, a, s, _ = noised(0.7)
    with pytest.raises(ValueError, match="Unknown prediction type 'x'"):
        clean_error(clean, clean, noise, a, s, "x")
