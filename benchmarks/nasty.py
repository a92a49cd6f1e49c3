"""Texts of options, budgets and tables that have been read wrongly somewhere: no numbers, or none that end well."""

NASTY = [
    "²",
    "9" * 5_000,
    "inf",
    "nan",
    "-1",
    "1e999",
    "",
    " ",
    "\0",
    "٣",
    "½",
    "-0",
    "0x10",
    "1_0",
    "50%%",
    "..",
    "a\nb",
]
