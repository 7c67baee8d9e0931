"""How configuration refers to a secret: `secret:NAME`, or in TOML `{ secret = "NAME" }`; both become the former."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

SECRET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
REFERENCE: Final = re.compile(rf"((?:[A-Za-z]+ )?)secret:({SECRET_NAME.pattern})")
"""What stands for a secret: `secret:NAME`, behind one word where a header wants that: `Bearer secret:NAME`."""


def _as_text(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"secret"} and isinstance(value["secret"], str):
        value = f"secret:{value['secret']}"
    if isinstance(value, str) and value.startswith("secret:") and not REFERENCE.fullmatch(value):
        raise ValueError("expected a secret's name of letters, digits, '_', '.' and '-' behind secret:")
    return value


Referring = Annotated[str, BeforeValidator(_as_text)]
"""A text that may refer to a secret."""
