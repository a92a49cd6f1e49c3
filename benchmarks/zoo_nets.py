"""The networks of the zoo: names, random weights, the least size that they run on, MACs by layer."""

from collections import Counter
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

SIZES = (96, 98, 128, 224, 299)  # pixels; the least that a network runs on
SEGMENTATION = ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
TIMM = [
    "cspdarknet53", "cspresnet50", "convnextv2_pico", "darknet53", "dla34", "dpn68", "ecaresnet50t",
    "edgenext_xx_small", "efficientnetv2_rw_t", "ese_vovnet19b_dw", "fastvit_t8", "ghostnet_100", "ghostnetv2_100",
    "hgnetv2_b0", "hrnet_w18_small", "inception_next_tiny", "mobilenetv3_large_100", "mobilenetv4_conv_small",
    "mobileone_s1", "nf_resnet26", "rdnet_tiny", "regnety_040", "repghostnet_100", "repvgg_a2", "res2net50_26w_4s",
    "resnest14d", "resnet50", "rexnet_100", "selecsls42b", "seresnet50", "skresnet18", "starnet_s1", "xception41",
]  # fmt: skip
FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "regnet_x_400mf", "regnet_y_400mf", "resnet18",
    "resnet50", "resnext50_32x4d", "shufflenet_v2_x1_0", "squeezenet1_0", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn",
    "vit_b_16", "wide_resnet50_2",
]  # fmt: skip


def names() -> list[str]:
    """All networks, as the command line spells them."""
    listed = torchvision.models.list_models(module=torchvision.models)
    return [*(f"torchvision:{n}" for n in (*listed, *SEGMENTATION)), *(f"timm:{n}" for n in TIMM)]


def with_peer(name: str) -> bool:
    """Whether torch-pruning runs on it too: the first of each family."""
    library, _, net = name.partition(":")
    return library == "timm" or net in FAMILIES or net in SEGMENTATION


def build(name: str, pixels: int) -> nn.Module:
    """The network with random weights. Raises ValueError or AssertionError where it can't be of this size."""
    library, _, net = name.partition(":")
    if library == "timm":
        import timm

        made: nn.Module = timm.create_model(net)
        return made.eval()
    options: dict[str, Any] = {"init_weights": False} if net in ("googlenet", "inception_v3") else {}
    options |= {"image_size": pixels} if net.startswith("vit") else {}
    options |= {"input_size": (pixels, pixels)} if net.startswith("maxvit") else {}
    options |= {"weights_backbone": None} if net in SEGMENTATION else {}
    made = torchvision.models.get_model(net, weights=None, **options)
    return made.eval()


def least_size(name: str) -> tuple[int, nn.Module]:
    """The least of SIZES that the network runs on, and the network without storage."""
    tried = ((pixels, without_storage(name, pixels)) for pixels in SIZES)
    return next((pixels, bare) for pixels, bare in tried if bare is not None)


def without_storage(name: str, pixels: int) -> nn.Module | None:
    """The network on the meta device, if it runs on this size."""
    try:
        bare = build_without_storage(name, pixels)
        with torch.no_grad():
            bare(torch.empty(1, 3, pixels, pixels, device="meta"))
    except (RuntimeError, ValueError, AssertionError):
        return None
    return bare


def build_without_storage(name: str, pixels: int) -> nn.Module:
    """The network on the meta device; with storage first where its constructor looks at values, as RegNet's."""
    try:
        with torch.device("meta"):
            return build(name, pixels)
    except NotImplementedError:
        return build(name, pixels).to("meta")


class LayerMacs(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """MACs of every convolution and linear layer, by the module that owns its weight.

    A weight that forward computes (standardised) counts for the convolution or linear layer that runs.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs: Counter[str] = Counter()
        self.owners = {p.untyped_storage()._cdata: n.rpartition(".")[0] for n, p in model.named_parameters()}
        self.running = ""
        for name, module in model.named_modules():
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                module.register_forward_pre_hook(lambda *_, name=name: setattr(self, "running", name))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        aten = torch.ops.aten
        if func.overloadpacket in (aten.convolution, aten.addmm, aten.mm):
            held = [self.owners.get(a.untyped_storage()._cdata) for a in args[::-1] if isinstance(a, Tensor)]
            owner = next((name for name in held if name is not None), self.running)
            self.macs[owner] += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out) // 2
        return out


@torch.no_grad()
def layer_macs(bare: nn.Module, pixels: int) -> Counter[str]:
    """MACs of one image by module, in the order of the forward pass."""
    seen = LayerMacs(bare)
    with seen:
        bare(torch.empty(1, 3, pixels, pixels, device="meta"))
    macs: Counter[str] = seen.macs
    return macs
