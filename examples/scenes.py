"""Pictures out of two real sets: scikit-learn's handwritten digits, pasted on crops of its photographs.

Training pictures use other digits and another part of the photographs than test pictures do.
"""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor

SIZE = 64
SPLITS = {
    "train": (0.0, 0.7),
    "holdout": (0.7, 0.8),
    "test": (0.8, 1.0),
}  # of the digits, and of the photographs' width


@dataclass(frozen=True)
class Scenes:
    """N pictures of at most three digits each.

    ``images``: (N, 3, 64, 64) float32 in 0..1. ``masks``: (N, 64, 64) int64, 0 for the background and 1 to 10 for the
    digits 0 to 9. ``boxes``: (N, 3, 5) float32, a row a digit: its class, centre x and y and side in pixels, and
    1; zeros where there are fewer than three.
    """

    images: Tensor
    masks: Tensor
    boxes: Tensor


@cache
def scenes(split: str, count: int, most: int = 3, kinds: int = 10) -> Scenes:
    """``count`` pictures of one split with 1 to ``most`` digits, each below ``kinds``; the same at every call."""
    torch.manual_seed(list(SPLITS).index(split))
    start, end = SPLITS[split]
    digits, photographs = _digits(start, end, kinds), _photographs(start, end)
    images = torch.stack([_crop(photographs[i % len(photographs)]) for i in range(count)])
    masks, boxes = torch.zeros(count, SIZE, SIZE, dtype=torch.int64), torch.zeros(count, 3, 5)
    for i in range(count):
        for number in range(int(torch.randint(1, most + 1, ()))):
            boxes[i, number] = _paste(images[i], masks[i], *digits[int(torch.randint(len(digits), ()))])
    return Scenes(images, masks, boxes)


def _paste(image: Tensor, mask: Tensor, digit: Tensor, label: int) -> Tensor:
    """Paste a digit somewhere, in one colour, and return its box."""
    side = int(torch.randint(16, 29, ()))
    y, x = torch.randint(SIZE - side, (2,)).tolist()
    ink = F.interpolate(digit[None, None], (side, side), mode="bilinear")[0, 0]
    window = image[:, y : y + side, x : x + side]
    window += ink * (torch.rand(3, 1, 1).round() - window)  # each channel dark or bright
    mask[y : y + side, x : x + side][ink > 0.5] = label + 1
    return torch.tensor([label, x + side / 2, y + side / 2, side, 1])


def _digits(start: float, end: float, kinds: int) -> list[tuple[Tensor, int]]:
    known = load_digits()
    every = range(int(start * len(known.target)), int(end * len(known.target)))
    wanted = [i for i in every if known.target[i] < kinds]
    return [(torch.tensor(known.images[i] / 16).float(), int(known.target[i])) for i in wanted]


def _photographs(start: float, end: float) -> list[Tensor]:
    """This part of each photograph's width, at half its size, where that is wide enough. Shape: (3, H, W) each"""
    whole = [torch.from_numpy(each.copy()).permute(2, 0, 1).float() / 255 for each in load_sample_images().images]
    least = SIZE + 16
    parts = []
    for each in whole:
        left = min(int(start * each.shape[2]), each.shape[2] - least)
        parts.append(each[:, :, left : max(int(end * each.shape[2]), left + least)])
    return parts


def _crop(photograph: Tensor) -> Tensor:
    y, x = (int(torch.randint(n - SIZE, ())) for n in photograph.shape[1:])
    return photograph[:, y : y + SIZE, x : x + SIZE].clone()
