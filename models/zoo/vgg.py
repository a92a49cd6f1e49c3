"""VGG networks with batch norm for 32-pixel images."""

from torch import Tensor, nn

# Table 1 of the paper: the widths of the convolutions between two poolings.
A = ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2)
B = ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2)
D = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
E = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)


class VGG(nn.Module):
    """Five stages of 3×3 convolutions, each halved by pooling, then three linear layers.

    Simonyan & Zisserman 2015, section 2.1 and table 1 (https://arxiv.org/abs/1409.1556). Made for 224 px
    and without batch norm; at 32 px one pixel of 512 channels is left, so the hidden linear layers are
    512 wide, not 4096, and each convolution (bias kept) is followed by a batch norm.

    Shape: (N, 3, 32, 32) → (N, classes)
    """

    def __init__(self, stages: tuple[tuple[int, ...], ...], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        reads = 3
        for stage in stages:
            for writes in stage:
                layers += [nn.Conv2d(reads, writes, 3, padding=1), nn.BatchNorm2d(writes), nn.ReLU()]
                reads = writes
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(reads, 512),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(512, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # linear layers without batch norm would start too loud for SGD at 0.05
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """One logit for each class."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def vgg11_bn(classes: int = 10) -> nn.Module:
    """VGG-11 (configuration A): 9.8 M parameters, 153.3 M MACs at 32 px."""
    return VGG(A, classes)


def vgg13_bn(classes: int = 10) -> nn.Module:
    """VGG-13 (configuration B): 9.9 M parameters, 228.8 M MACs at 32 px."""
    return VGG(B, classes)


def vgg16_bn(classes: int = 10) -> nn.Module:
    """VGG-16 (configuration D): 15.3 M parameters, 313.7 M MACs at 32 px."""
    return VGG(D, classes)


def vgg19_bn(classes: int = 10) -> nn.Module:
    """VGG-19 (configuration E): 20.6 M parameters, 398.7 M MACs at 32 px."""
    return VGG(E, classes)
