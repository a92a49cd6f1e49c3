"""Options as other tools call them, and what they are called here."""

from collections.abc import Collection

from cyclopts import UnknownOptionError, UnusedCliTokensError

WORDS = {
    "flops": "budget ratio pruning-ratio ratios sparsity keep macs target-flops target flop prune",
    "params": "parameters weights-budget",
    "latency": "time speed ms",
    "holdout": "val valid validation val-dir val-split validation-split holdout-dir dev",
    "data": "dataset data-dir data-path root images",
    "input": "img-size image-size imgsz input-size resolution size crop shape",
    "weights": "checkpoint ckpt pretrained load state-dict init",
    "out": "output output-dir out-dir save-dir project name dir folder run",
    "overwrite": "force exist-ok",
    "device": "gpu gpus cuda cpu",
    "precision": "amp fp16 bf16 half dtype",
    "trials": "n-trials num-trials iterations evaluations",
    "epochs": "epoch num-epochs",
    "method": "loss distill kd distillation",
    "sampler": "algorithm search-algorithm optimizer-search",
    "freeze": "ignore ignored-layers skip exclude",
    "least": "min minimum min-width min-channels",
    "divisor": "round-to channel-multiple multiple round",
    "lr": "learning-rate lr0",
    "batch": "batch-size bs",
    "weight-decay": "wd decay",
    "workers": "num-workers jobs",
    "augment": "augmentation aug transforms",
    "config": "cfg yaml",
}
SYNONYMS = {word: option for option, words in WORDS.items() for word in words.split()}
SENTENCES = {  # for what is no option
    "resume": "the same command resumes a run that was interrupted",
    "continue": "the same command resumes a run that was interrupted",
    "classes": "the data say how many classes there are",
    "num-classes": "the data say how many classes there are",
    "model": "the network comes first and has no option: secateur run MODEL",
    "network": "the network comes first and has no option: secateur run MODEL",
    "arch": "the network comes first and has no option: secateur run MODEL",
    "verbose": "progress is shown unless you pass --quiet",
}


def advice(option: str, offered: Collection[str]) -> str | None:
    """What to pass instead of an option that a command does not have, of those that it has; None: nothing is known.

    >>> advice("--val", {"--holdout", "--data"})
    'did you mean --holdout?'
    >>> advice("--resume", {"--data"})
    'the same command resumes a run that was interrupted'
    """
    word = option.partition("=")[0].lstrip("-").replace("_", "-").lower()
    meant = f"--{SYNONYMS.get(word, word)}"
    return f"did you mean {meant}?" if meant in offered else SENTENCES.get(word)


def in_words(error: Exception) -> str:
    """What is wrong with a command line, with the option that was meant where another tool's was typed."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{error.unused_tokens[0]!r} is left over; pass one MODEL, and all else as options"
    if isinstance(error, UnknownOptionError):
        typed = error.token.keyword or error.token.value
        fix = advice(typed, {name for argument in error.argument_collection for name in argument.names})
        return f"Unknown option: {typed}; {fix}" if fix else str(error)
    return str(error)
