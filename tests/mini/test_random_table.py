import torch
from hypothesis import given
from hypothesis import strategies as st

from handrawer.mini.random_table import normals, pick, uniforms


@given(st.integers(0, 2**31), st.integers(0, 2**40), st.integers(0, 50))
def test_a_sample_does_not_depend_on_its_neighbours(seed, first, stream):
    index = torch.arange(first, first + 7)
    together = uniforms(seed, index, 5, stream)
    alone = torch.cat([uniforms(seed, index[k : k + 1], 5, stream) for k in range(7)])
    assert torch.equal(together, alone)
    assert bool(((together >= 0) & (together < 1)).all())


def test_numbers_are_uniform_and_unrelated():
    table = uniforms(3, torch.arange(50_000), 6)
    assert torch.allclose(table.mean(0), torch.tensor(0.5), atol=0.01)
    assert torch.allclose(table.std(0), torch.tensor(12**-0.5), atol=0.01)
    related = torch.corrcoef(torch.cat([table[:-1], table[1:], uniforms(4, torch.arange(49_999), 6)], 1).T)
    assert float(related.fill_diagonal_(0).abs().max()) < 0.03


def test_normals_are_standard():
    table = normals(1, torch.arange(50_000), 3)
    assert torch.allclose(table.mean(0), torch.tensor(0.0), atol=0.02)
    assert torch.allclose(table.std(0), torch.tensor(1.0), atol=0.02)
    assert bool(torch.isfinite(table).all())


def test_pick_follows_the_shares():
    drawn = pick(uniforms(5, torch.arange(40_000), 1)[:, 0], (1.0, 2.0, 5.0)).bincount() / 40_000
    assert torch.allclose(drawn, torch.tensor([1, 2, 5]) / 8, atol=0.01)
