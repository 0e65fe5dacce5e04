"""Weights that are cast together are those that autocast casts one by one."""

import torch

from handrawer.train.adapter import AdapterTrainer
from handrawer.train.casting import cast_together, multiplied
from handrawer.train.config import make_config
from handrawer.train.steps import adapter_maps, cast
from tests.train.conftest import SMALL


def test_an_adapters_maps_and_gradients_are_the_same_bits(tmp_path, mini_base):
    settings = {**SMALL, "data": {"size": 64}, "batch": 2, "steps": 1}
    trainer = AdapterTrainer(make_config({"out": str(tmp_path), **settings}), base=mini_base)
    batch, adapter = trainer.batch(), trainer.adapter
    trainer.close()
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if ".sites." in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))

    def plainly():
        chances, picture = batch.chances, batch.inputs.picture
        with cast(torch.device("cpu"), torch.bfloat16):
            return adapter.residuals(
                adapter.encode(batch.inputs), 8, 8, batch.text.context.float(),
                drop_text=chances.drop_text[picture], drop_hand=chances.drop_hand[picture],
                box_only=chances.box_only[picture],
            )  # fmt: skip

    found = []
    for maps in (plainly(), adapter_maps(adapter, batch, batch.text, 8, 8, torch.bfloat16)):
        torch.stack([residual.float().square().mean() for residual in maps.values()]).sum().backward()
        found.append((maps, {name: p.grad for name, p in adapter.named_parameters() if p.grad is not None}))
        adapter.zero_grad(set_to_none=True)
    (maps, gradients), (others, other) = found
    assert all(torch.equal(maps[block], others[block]) and maps[block].dtype == others[block].dtype for block in maps)
    assert gradients.keys() == other.keys() and all(torch.equal(gradients[name], other[name]) for name in gradients)
    assert max(float(gradient.abs().max()) for gradient in gradients.values()) > 1e-4


def test_only_what_multiplies_is_cast_and_the_network_keeps_its_own():
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 4))
    assert set(multiplied(network, (network[2],))) == {"0.weight", "0.bias"}
    seen = cast_together(network, torch.bfloat16, lambda: [p.dtype for p in network.parameters()], (network[2],))
    assert seen == [torch.bfloat16] * 2 + [torch.float32] * 4
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert cast_together(network, torch.float32, lambda: network[0].weight) is network[0].weight
