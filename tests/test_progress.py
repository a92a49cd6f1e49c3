from collections.abc import Generator

from secateur.progress import Update, follow, silent


def counting(total: int) -> Generator[Update, None, int]:
    for done in range(1, total + 1):
        yield Update("counting", done, total)
    return total


def test_work_is_run_to_its_end_and_each_update_reported() -> None:
    told: list[Update] = []
    assert follow(counting(3), lambda *update: told.append(Update(*update))) == 3
    assert told == [Update("counting", done, 3) for done in (1, 2, 3)]


def test_work_without_an_update_gives_its_result() -> None:
    assert follow(counting(0), silent) == 0
