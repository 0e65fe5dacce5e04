import torch

from handrawer.evaluate.drawn import Drawn


def test_latents_come_back_in_order_and_name_their_machine(tmp_path):
    latents = {name: torch.randn(2, 4, 3, 5) for name in ("text alone", "2 with hand", "another")}
    Drawn.write(tmp_path / "deep" / "drawn.safetensors", latents, torch.device("cpu"))
    found = Drawn.read(tmp_path / "deep" / "drawn.safetensors")
    assert list(found.latents) == list(latents) and "CPU" in found.machine
    for name, values in latents.items():
        assert torch.allclose(found.latents[name], values, atol=2e-3) and found.latents[name].dtype == torch.float32
