"""What messages, logs and `config show` leave out of settings: secrets, by their names and in addresses."""

from __future__ import annotations

import re
from typing import Any, Final

MASK: Final = "***"

#: Parts of the names of settings that hold secrets, with dots between words.
_SECRET_WORDS: Final = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "jaas",
    "oauthbearer",
    "key.pem",
    "private.key",
    "api.key",
    "access.key",
    "account.key",
    "user.info",
)

#: A name that is nothing but a name; `[key]` is how pydantic calls a key.
_NAME: Final = re.compile(r"[\w.\-\[\]]*")

#: `user:password@` in front of a host. A password that nobody encoded may hold slashes and at signs, so it
#: reaches to the last at sign of the word; a name alone ends before the path. Lists of addresses are split.
_USERINFO: Final = re.compile(
    r"(?P<scheme>\b[A-Za-z][\w+.-]*://)(?:[^\s/:]*:(?:(?!,[A-Za-z][\w+.-]*://)\S)*|[^\s/]*)@"
)
#: The same without a scheme, as a URL is written by mistake.
_BARE_USERINFO: Final = re.compile(r"(?<![\w+.-])[\w+.-]+:(?!//)(?:(?!://)\S)*@")

_PARAMETER: Final = re.compile(
    r"([?&][\w.%-]*(?:passw|secret|token|key|credential|sig)[\w.%-]*=)[^&#\s'\"]*", re.IGNORECASE
)


def is_secret(name: str) -> bool:
    """Whether what the setting `name` holds is shown to nobody."""
    return any(word in re.sub(r"[_\-]", ".", name.lower()) for word in _SECRET_WORDS)


def without_userinfo(text: str) -> str:
    """`text` with the credentials of every URL in it masked: before the host and in its parameters."""
    masked = _BARE_USERINFO.sub(f"{MASK}@", _USERINFO.sub(rf"\g<scheme>{MASK}@", text))
    return _PARAMETER.sub(rf"\g<1>{MASK}", masked)


def masked_name(name: str) -> str:
    """`name` as far as it is one: `password=x` is what becomes of a mapping without its colon."""
    found = _NAME.match(name)
    end = 0 if found is None else found.end()
    return name if end == len(name) else name[:end] + MASK


def masked(value: Any) -> Any:
    """`value` as it may be shown. In mappings the name decides, at any depth."""
    if isinstance(value, dict):
        return {
            masked_name(str(name)): MASK if is_secret(str(name)) else masked(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    return without_userinfo(value) if isinstance(value, str) else value
