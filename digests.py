"""Digests inside JSON records, by which a changed value is found; a record without one is taken as it is."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

KEY = "blake2b"
CHANGED = f"its content is not what was written; if you edited it yourself, remove its {KEY!r}"


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its digest as the last entry.

    >>> record = sealed({"width": 8})
    >>> unsealed(record)
    {'width': 8}
    >>> unsealed({**record, "width": 9})
    Traceback (most recent call last):
    ValueError: its content is not what was written; if you edited it yourself, remove its 'blake2b'
    """
    return {**record, KEY: digest(record)}


def unsealed(value: Any) -> Any:
    """The record without its digest; a value that has none as it is. Raises ValueError where it has another one."""
    if not isinstance(value, dict) or KEY not in value:
        return value
    record = {key: each for key, each in value.items() if key != KEY}
    if value[KEY] != digest(record):
        raise ValueError(CHANGED)
    return record


def digest(value: Any) -> str:
    """32 hex digits of a JSON value, whatever its layout in a file; dictionaries in order."""
    text = json.dumps(value, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()
