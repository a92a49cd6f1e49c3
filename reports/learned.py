"""What a method that learned widths did, in a line."""

from ..rundir.outcomes import LearnStage

SHOWN = 12  # epochs in a line, at most


def learned_line(learn: LearnStage) -> str:
    """The share of channels that were closed after each epoch; empty for a run of an earlier version.

    >>> learned_line(LearnStage(form="masks", dense=(8, 12), widths=((4, 11), (4, 6))))
    'channels closed after each epoch of learning (masks): 25%, 50% of 20'
    """
    if not learn.dense or not learn.widths:
        return ""
    shown = spread(len(learn.widths), SHOWN)
    shares = ", ".join(f"{1 - sum(learn.widths[n]) / sum(learn.dense):.0%}" for n in shown)
    when = "each epoch" if len(shown) == len(learn.widths) else f"epochs {', '.join(str(n + 1) for n in shown)}"
    return f"channels closed after {when} of learning ({learn.form}): {shares} of {sum(learn.dense)}"


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` indices below ``count``, evenly spread, with the first and the last.

    >>> spread(3, 12), spread(100, 3)
    ([0, 1, 2], [0, 50, 99])
    """
    shown = min(count, most)
    return [round(n * (count - 1) / max(shown - 1, 1)) for n in range(shown)]
