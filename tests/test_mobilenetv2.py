import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model

from secateur.models.zoo.mobilenetv2 import InvertedResidual, mobilenetv2

STAGES = (  # table 2 of the paper, but for the stride of the second line
    *((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


def test_the_tensors_are_those_of_torchvision_in_the_same_order() -> None:
    with torch.device("meta"):
        ours, theirs = mobilenetv2(classes=7), get_model("mobilenet_v2", weights=None, num_classes=7)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


def test_the_answers_are_those_of_torchvision_with_two_strides_fewer() -> None:
    ours, theirs = mobilenetv2().eval(), get_model("mobilenet_v2", weights=None, num_classes=10).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    theirs.features[0][0].stride = (1, 1)
    theirs.features[2].conv[1][0].stride = (1, 1)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x))


def test_macs_are_those_of_the_table() -> None:
    macs, pixels, reads = 32**2 * 9 * 3 * 32, 32**2, 32
    for expansion, writes, count, stride in STAGES:
        for i in range(count):
            hidden = reads * expansion
            macs += pixels * reads * hidden * (expansion > 1)
            pixels //= stride**2 if i == 0 else 1
            macs += pixels * (9 * hidden + hidden * writes)
            reads = writes
    assert pixels == 4 * 4
    with torch.device("meta"):
        model, image = mobilenetv2().eval(), torch.empty(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert counter.get_total_flops() / 2 == macs + pixels * 320 * 1280 + 1280 * 10


def test_a_block_adds_its_input_only_where_the_shapes_allow_it() -> None:
    assert InvertedResidual(8, 8, 6, 1).residual
    assert not InvertedResidual(8, 8, 6, 2).residual
    assert not InvertedResidual(8, 16, 6, 1).residual


def test_a_block_whose_projection_is_silent_passes_its_input_on() -> None:
    block = InvertedResidual(8, 8, 6, 1).eval()
    torch.nn.init.zeros_(block.get_parameter("project.conv.weight"))
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), x)
