"""A few images, and a search of two trials on them."""

from pathlib import Path

import torch

from secateur.data.images import Images
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.supernet import Supernet
from secateur.progress import follow, silent
from secateur.search.coarse_to_fine import Searched, search_widths
from secateur.search.config import SearchConfig
from secateur.search.records import Records


def images(count: int = 16, constant: bool = False, classes: int = 4) -> Images:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = torch.full_like(pixels, 127) if constant else pixels
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(count) % classes, (3, 8, 8))


def searched(net: Supernet, split: Images, folder: Path) -> Searched:
    limit = net.budget("60%")
    config = SearchConfig(BudgetRange(limit, limit), 2, images=len(split))
    return follow(search_widths(Records(net, split, folder / "records.jsonl"), config, folder), silent)
