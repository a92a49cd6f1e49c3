"""Detection, with a task of one's own: three scales, a loss and a score that are plain functions.

secateur knows nothing of boxes. It minimises ``loss``, reports ``found``, and distils by ``divergence``.

    python examples/detector.py [--quick]
"""

import torch
import torch.nn.functional as F
from chain import Chain, asked_for_quick, halved
from fit import fit
from scenes import SIZE, scenes
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import secateur as sc

STRIDES = (4, 8, 16)
LARGEST = (18, 23, SIZE)  # the longest side of a digit that each scale is responsible for, in pixels
BOXES = 3  # predicted boxes of an image that count


def block(reads: int, makes: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, SiLU."""
    return nn.Sequential(nn.Conv2d(reads, makes, 3, stride, 1, bias=False), nn.BatchNorm2d(makes), nn.SiLU())


class Detector(nn.Module):
    """A backbone, a pyramid that goes up again, and a head at each of three scales.

    Returns three maps (B, 4, 64 / stride, 64 / stride): the logit of a digit whose centre is there, how far the centre
    is from the middle of the cell in x and y, in cells, and the logarithm of the side in cells.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(3, width, 2), block(width, 2 * width, 2), block(2 * width, 2 * width))
        self.middle = nn.Sequential(block(2 * width, 4 * width, 2), block(4 * width, 4 * width))
        self.deep = nn.Sequential(block(4 * width, 8 * width, 2), block(8 * width, 8 * width))
        self.up_middle, self.up_stem = block(12 * width, 4 * width), block(6 * width, 2 * width)
        self.heads = nn.ModuleList(nn.Conv2d(n * width, 4, 1) for n in (2, 4, 8))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of three scales. Shape: (B, 3, 64, 64) → (B, 4, 16, 16), (B, 4, 8, 8), (B, 4, 4, 4)"""
        fine = self.stem(x)
        middle = self.middle(fine)
        deep = self.deep(middle)
        middle = self.up_middle(torch.cat([middle, F.interpolate(deep, scale_factor=2.0)], 1))
        fine = self.up_stem(torch.cat([fine, F.interpolate(middle, scale_factor=2.0)], 1))
        return [head(each) for head, each in zip(self.heads, (fine, middle, deep), strict=True)]


def wanted(boxes: Tensor, scale: int) -> Tensor:
    """What the map of a scale should be; its first channel is 1 where a digit is. Shape: (B, 3, 5) → (B, 4, S, S)"""
    stride, least = STRIDES[scale], LARGEST[scale - 1] if scale else 0
    image, digit = ((boxes[..., 3] > least) & (boxes[..., 3] <= LARGEST[scale])).nonzero(as_tuple=True)
    x, y, side = (boxes[image, digit, 1:4] / stride).unbind(1)
    column, row = x.long(), y.long()
    target = torch.zeros(len(boxes), SIZE // stride, SIZE // stride, 4)
    target[image, row, column] = torch.stack([torch.ones_like(x), x - column - 0.5, y - row - 0.5, side.log()], 1)
    return target.permute(0, 3, 1, 2)


def compared(found: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Cross-entropy of the scores, and how far boxes are off where there is a share of a digit. Shape: → (B,)"""
    score = F.binary_cross_entropy_with_logits(found[:, :1], share, reduction="none")
    off = share * F.smooth_l1_loss(found[:, 1:], target[:, 1:], reduction="none")
    return score.flatten(1).sum(1) + 5 * off.flatten(1).sum(1)


def loss(output: list[Tensor], boxes: Tensor) -> Tensor:
    """The loss of each image, summed over scales. Shape: → (B,)"""
    targets = [wanted(boxes, scale) for scale in range(len(output))]
    return sum((compared(o, t, t[:, :1]) for o, t in zip(output, targets, strict=True)), torch.zeros(len(boxes)))


def divergence(teacher: list[Tensor], student: list[Tensor]) -> Tensor:
    """The same with a teacher's scores and boxes for targets. Shape: → (B,)"""
    pairs = zip(student, teacher, strict=True)
    return sum((compared(s, t, t[:, :1].sigmoid()) for s, t in pairs), torch.zeros(len(teacher[0])))


def predicted(output: list[Tensor]) -> Tensor:
    """The x, y and side of the most likely boxes that are peaks of their map. Shape: → (B, 3, 3), pixels"""
    scores, boxes = [], []
    for stride, each in zip(STRIDES, output, strict=True):
        score, cells = each[:, 0], torch.arange(each.shape[-1]) + 0.5
        peak = score == F.max_pool2d(score, 3, 1, 1)
        scores.append(torch.where(peak, score, -torch.inf).flatten(1))
        x, y, side = each[:, 1] + cells, each[:, 2] + cells[:, None], each[:, 3].exp()
        boxes.append(stride * torch.stack([x, y, side], -1).flatten(1, 2))
    best = torch.cat(scores, 1).topk(BOXES).indices
    return torch.cat(boxes, 1).gather(1, best[..., None].expand(-1, -1, 3))


def found(output: list[Tensor], boxes: Tensor) -> Tensor:
    """The share of the digits that a predicted box covers with an intersection over union of half. Shape: → (B,)"""
    ours, theirs = predicted(output)[:, :, None], boxes[:, None, :, 1:4]
    high = torch.minimum(ours[..., :2] + ours[..., 2:] / 2, theirs[..., :2] + theirs[..., 2:] / 2)
    low = torch.maximum(ours[..., :2] - ours[..., 2:] / 2, theirs[..., :2] - theirs[..., 2:] / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    overlap = shared / (ours[..., 2] ** 2 + theirs[..., 2] ** 2 - shared)
    there = boxes[..., 4]
    return ((overlap.amax(1) >= 0.5) * there).sum(1) / there.sum(1)


def pictures(split: str, count: int) -> TensorDataset:
    """Pairs of a picture and its boxes."""
    drawn = scenes(split, count)
    return TensorDataset(drawn.images, drawn.boxes)


def main(quick: bool = False) -> Chain:
    """Train, halve, tune."""
    images, epochs, width = (48, 1, 4) if quick else (2000, 15, 16)
    task = sc.Task(loss=loss, metric=found, divergence=divergence)
    parts = pictures("train", images), pictures("holdout", images // 4), pictures("test", images // 4)
    data = sc.Data.of(*parts, task=task, name="digits in photographs")
    torch.manual_seed(0)
    model = fit(Detector(width), parts[0], loss, epochs)
    chain = halved(model, data, epochs=max(1, epochs // 3), quick=quick)
    print(chain)
    return chain


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
