import pytest

from secateur.errors import SecateurError
from secateur.models.costs.units import COST_UNITS, format_quantity

DENSE = 40_551_040  # MACs of ResNet-20
MACS = COST_UNITS["macs"]


@pytest.mark.parametrize(
    ("text", "macs"),
    [
        ("50%", DENSE // 2),
        ("100%", DENSE),
        ("12.5 %", DENSE // 8),
        ("29%", DENSE * 29 // 100),
        ("33.3%", DENSE * 333 // 1000),
        ("31M", 31_000_000),
        (" 31.5m ", 31_500_000),
        ("400K", 400_000),
        ("0.02G", 20_000_000),
        ("40551040", DENSE),
        ("40600", 40_600),
    ],
)
def test_a_limit_is_a_share_or_a_number(text: str, macs: int) -> None:
    assert MACS.read(text).limit(DENSE) == macs
    assert isinstance(MACS.read(text).limit(DENSE), int)


def test_large_limits_are_read_too() -> None:
    assert MACS.read("1.5G").limit(4_000_000_000) == 1_500_000_000
    assert MACS.read("40600000").limit(50_000_000) == 40_600_000
    assert MACS.read("62M").limit(125_000_000) == 62_000_000


@pytest.mark.parametrize(("text", "seconds"), [("5ms", 0.005), ("0.004 s", 0.004), ("800us", 0.0008), ("25%", 0.0025)])
def test_a_limit_of_latency_is_a_share_or_a_time(text: str, seconds: float) -> None:
    assert COST_UNITS["latency"].read(text).limit(0.01) == seconds


@pytest.mark.parametrize("text", ["0", "0%", "150%", "62G", "0.0000001%"])
def test_a_limit_of_nothing_or_more_than_everything_is_refused(text: str) -> None:
    with pytest.raises(SecateurError, match=f"budget {text} is .*40.55M; pass more than 0 and at most 100%"):
        MACS.read(text).limit(DENSE)


@pytest.mark.parametrize("text", ["abc", "-5%", "", "%", "50%%", "5 0%", "1e6", "nan", "62MB", "50%..80%", "5ms"])
def test_what_is_no_number_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(SecateurError, match=r"is not a share or a number of MACs; write 50% or 62M"):
        MACS.read(text).limit(DENSE)


@pytest.mark.parametrize(
    ("cost", "said"),
    [("parameters", "parameters; write 50% or 0.13M"), ("memory", "bytes; write 50% or 100K"), ("latency", "seconds;")],
)
def test_each_cost_says_its_unit_and_how_to_write_it(cost: str, said: str) -> None:
    with pytest.raises(SecateurError, match=f"'much' is not a share or a number of {said}"):
        COST_UNITS[cost].read("much").limit(100)


def test_a_time_needs_its_unit() -> None:
    with pytest.raises(SecateurError, match="write 50% or 5ms"):
        COST_UNITS["latency"].read("5").limit(100)


@pytest.mark.parametrize(("number", "text"), [(7, "7"), (1500, "1.5K"), (40_550_000, "40.55M"), (2.833e9, "2.833G")])
def test_a_number_is_read_at_a_glance(number: float, text: str) -> None:
    assert format_quantity(number) == text
