"""A plain training loop, as a reader's own would be."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


def fit(
    model: nn.Module, train: Dataset[Any], loss: Callable[[Any, Any], Tensor], epochs: int, rate: float = 0.003
) -> nn.Module:
    """Train a network from scratch with AdamW on one cycle of the learning rate; ``loss`` is that of each sample."""
    loader = DataLoader(train, 32, shuffle=True, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs=epochs, steps_per_epoch=len(loader))
    model.train()
    for _ in range(epochs):
        for inputs, targets, *_ in loader:
            optimizer.zero_grad()
            loss(model(inputs), targets).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return model.eval()
