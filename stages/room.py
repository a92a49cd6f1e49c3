"""What a run will write, compared with the room that there is, before anything is trained."""

from pathlib import Path

from ..errors import SecateurError
from ..files import free_bytes
from ..pipeline.session import Session
from ..transfer.bank.fill import BankConfig
from ..transfer.methods import embedding_width

COPIES = 8  # of the dense network: weights, checkpoints with what the optimizer keeps, and one that is being replaced
REST = 4_000_000  # bytes of the study, the records and the report


def needed_bytes(session: Session, bank: BankConfig | None) -> int:
    """About as much as a run leaves on the disk, and at most has there at once; ``bank`` where it fills one."""
    net, data = session.net, session.data
    network: int = sum(tensor.numel() * tensor.element_size() for tensor in net.model.state_dict().values())
    if bank is None or data.task.divergence is None:
        return COPIES * network + REST
    width = embedding_width(net.model, net.head, session.outputs.channels)
    return COPIES * network + REST + bank.bytes(len(data.train), session.outputs.numbers, width, bank.teachers)


def require_room(folder: Path, needed: int) -> None:
    """Raise SecateurError where less than ``needed`` bytes are there, those of an earlier start included."""
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.exists() else 0
    free = free_bytes(folder)
    if (missing := needed - held - free) > 0:
        raise SecateurError(
            f"the run writes about {needed / 1e6:,.0f} MB to {folder}, and {free / 1e6:,.0f} MB are free there, "
            f"{missing / 1e6:,.0f} MB too few; make room, pass a different --out or fewer --views"
        )
