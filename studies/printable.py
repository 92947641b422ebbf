"""Stored text as it may be shown: whatever would steer a terminal, a browser or the order of reading is written out.

The names and texts of a database are those that other programs and users chose. An escape sequence in one of them could
hide or forge what a terminal shows, and a control character is not allowed in HTML, XML or JSON.
"""

import json
import re
import unicodedata

BIDIRECTIONAL = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Controls of the order in which letters are read, as a range of a regular expression."""

_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters without ink."""

_CONTROL = re.compile(
    f"[\x00-\x1f\x7f-\x9f\u2028\u2029{BIDIRECTIONAL}\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"  # the last: no characters
)


def printable(text: str, keep: str = "") -> str:
    r"""`text` with control characters written out, as Python writes them in a text: "\x1b" for the escape character.

    Args:
        text: of any origin.
        keep: control characters that stay, such as the ends of lines.
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], text)


def printable_json(text: str) -> str:
    """JSON with control characters written as JSON does, which leaves its meaning as it is."""
    return _CONTROL.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def visible(name: str) -> str:
    """A name that can be seen: as `printable`, and in quotation marks if it is empty or looks so."""
    shown = printable(name)
    is_seen = any(unicodedata.category(letter) not in ("Cf", "Zs") and letter not in _BLANK for letter in shown)
    return shown if is_seen else json.dumps(name)
