from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.errors import SecateurError
from secateur.transfer.bank.negatives import hard_negatives, near_lists, random_negatives, write_index


def unit(count: int, size: int = 8, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def mined(keys: Tensor, labels: Tensor, count: int, path: Path) -> Tensor:
    write_index(keys, path)
    return hard_negatives(path, labels, count)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.integers(8, 60), st.integers(2, 5), st.integers(1, 12), st.integers(0, 100))
def test_negatives_are_the_nearest_keys_of_other_classes(
    tmp_path: Path, images: int, classes: int, count: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (images - classes,), generator=random)])
    keys = unit(images, seed=seed)
    found = mined(keys, labels, count, tmp_path / "index.faiss").numpy()
    similar = (keys @ keys.T).double().numpy()
    similar[labels[:, None].numpy() == labels.numpy()] = -np.inf
    fewest = int((labels[:, None] != labels).sum(1).min())
    assert found.shape == (images, min(count, fewest))
    expected = -np.sort(-similar, axis=1)[:, : found.shape[1]]
    np.testing.assert_allclose(np.take_along_axis(similar, found, 1), expected, atol=1e-5)  # so: no own class
    assert all(len(set(row)) == len(row) for row in found.tolist())


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_no_negative_is_of_the_same_class(tmp_path: Path, classes: int) -> None:
    labels = torch.arange(60) % classes
    # keys of a class lie together, so the nearest of all would be of the same class
    keys = F.normalize(unit(60) * 0.1 + F.one_hot(labels, classes).float() @ unit(classes, seed=1), dim=1)
    found = mined(keys, labels, 5, tmp_path / "index.faiss")
    assert (labels[found] != labels[:, None]).all()
    assert found.dtype == torch.int64


def test_no_more_negatives_than_the_largest_class_leaves(tmp_path: Path) -> None:
    labels = torch.tensor([0] * 7 + [1] * 3)
    found = mined(unit(10), labels, 64, tmp_path / "index.faiss")
    assert found.shape == (10, 3)
    assert sorted(found[0].tolist()) == [7, 8, 9]
    assert set(found[9].tolist()) < set(range(7))


def test_classes_without_images_do_no_harm(tmp_path: Path) -> None:
    labels = torch.tensor([0, 5, 0, 5, 5, 0])
    assert mined(unit(6), labels, 2, tmp_path / "index.faiss").shape == (6, 2)


def test_the_index_is_written_whole_and_anew(tmp_path: Path) -> None:
    path, labels = tmp_path / "index.faiss", torch.arange(20) % 2
    mined(unit(20, seed=1), labels, 4, path)
    again = mined(unit(20, seed=2), labels, 4, path)
    assert torch.equal(again, mined(unit(20, seed=2), labels, 4, tmp_path / "other.faiss"))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "index.faiss",
        "index.lock",
        "other.faiss",
        "other.lock",
    ]


def test_a_hostile_index_is_replaced_before_it_is_read(tmp_path: Path) -> None:
    path, labels = tmp_path / "index.faiss", torch.arange(20) % 2
    clean = mined(unit(20), labels, 3, tmp_path / "clean.faiss")
    path.write_bytes(b"IwFl" + b"\xff" * 500)
    assert torch.equal(mined(unit(20), labels, 3, path), clean)


def test_an_index_that_can_not_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(index: faiss.Index, name: str) -> None:
        Path(name).write_bytes(b"some")
        raise RuntimeError("Error: 'ret == (n)' failed:\n write error: No space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(SecateurError, match=r"index\.faiss cannot be written .*No space left") as caught:
        write_index(unit(20), tmp_path / "index.faiss")
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["index.lock"]


def test_two_processes_write_the_index_one_after_the_other(tmp_path: Path) -> None:
    path, lock = tmp_path / "index.faiss", FileLock(tmp_path / "index.lock", thread_local=False)
    with ThreadPoolExecutor() as pool:
        lock.acquire()
        second = pool.submit(write_index, unit(20, seed=1), path)
        with pytest.raises(TimeoutError):
            second.result(0.2)
        assert not path.exists()
        lock.release()
        second.result()
    assert faiss.read_index(str(path)).ntotal == 20


def test_what_a_kill_left_of_an_index_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "index.partial").write_bytes(b"left by a kill")
    write_index(unit(20), tmp_path / "index.faiss")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.faiss", "index.lock"]


def test_beyond_the_exact_search_nearly_all_of_the_nearest_are_found(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (100_000,), generator=random)
    apart = torch.randn(10, 16, generator=random)[labels] + torch.randn(100_000, 16, generator=random)
    keys = F.normalize(apart, dim=1)
    write_index(keys, tmp_path / "index.faiss", exact=50_000)
    index, hits = faiss.read_index(str(tmp_path / "index.faiss")), 0
    for label in range(10):
        others, queries = labels != label, keys[labels == label][:30]
        found = torch.from_numpy(near_lists(index, queries.numpy(), others.numpy(), 10))
        nearest = (queries @ keys.T).masked_fill(~others, -2).topk(10).indices
        hits += int((found[:, :, None] == nearest[:, None]).sum())
    assert hits >= 0.95 * 3000


def test_beyond_the_exact_search_no_negative_is_of_the_same_class(tmp_path: Path) -> None:
    path, labels = tmp_path / "index.faiss", torch.arange(2000) % 10
    keys = F.normalize(unit(2000) * 0.1 + F.one_hot(labels, 10).float() @ unit(10, seed=1), dim=1)
    write_index(keys, path, exact=1999)
    found = hard_negatives(path, labels, 5)
    assert (found >= 0).all()
    assert (labels[found] != labels[:, None]).all()


@given(st.integers(4, 40), st.integers(2, 4), st.integers(1, 9), st.integers(0, 100))
def test_random_negatives_are_any_of_other_classes(images: int, classes: int, count: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (images - classes,), generator=random)])
    indices = torch.randint(images, (7,), generator=random)
    found = random_negatives(labels, count)(indices)
    assert found.shape == (7, count)
    assert (labels[found] != labels[indices, None]).all()


def test_random_negatives_are_drawn_evenly_and_anew() -> None:
    draw, labels = random_negatives(torch.tensor([2, 0, 1, 0, 2, 0]), 3000), torch.tensor([2, 0, 1, 0, 2, 0])
    torch.manual_seed(0)
    one, two = draw(torch.tensor([0])), draw(torch.tensor([0]))
    assert not torch.equal(one, two)
    shares = one[0].bincount(minlength=6) / 3000
    torch.testing.assert_close(shares[labels != 2], torch.full((4,), 0.25), atol=0.03, rtol=0)
