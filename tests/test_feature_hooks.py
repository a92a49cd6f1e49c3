import torch
from torch import nn

from secateur.transfer.joint.feature_hooks import FeatureHooks


def test_what_modules_read_and_made_is_heard_with_its_graph_and_no_hook_stays() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    listening, x = FeatureHooks(model, ["1", "2"]), torch.randn(5, 3)
    logits = listening(x)
    torch.testing.assert_close(logits, model(x))
    assert list(listening.captured) == ["1", "2"]
    ((read, made),), ((inner, answer),) = listening.captured.values()
    assert made is inner
    assert answer is logits
    torch.testing.assert_close(read, model[0](x))
    (slope,) = torch.autograd.grad(made.sum(), model.get_parameter("0.bias"))
    torch.testing.assert_close(slope, (read > 0).float().sum(0))
    assert not any(module._forward_hooks for module in model.modules())
    listening(x[:2])
    assert len(listening.captured["1"][0][0]) == 2


def test_every_call_of_a_module_is_heard() -> None:
    layer = nn.Linear(3, 3)
    listening, x = FeatureHooks(nn.Sequential(layer, layer), ["0"]), torch.randn(5, 3)
    listening(x)
    (first, made), (second, _) = listening.captured["0"]
    assert first is x
    assert second is made
