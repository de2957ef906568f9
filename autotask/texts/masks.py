"""Mask secrets: by their names, and within a text such as an address, a header or JSON."""

import functools
import re
from collections.abc import Iterator, Sequence

MASK = "•••"

#: Longest text that is searched for secrets, and longest name of one; both bound the cost.
LONGEST_TEXT = 10_000
LONGEST_NAME = 64

#: Characters at the end of the beginning of a text in which half of a secret is looked for.
LONGEST_WORD = 1_000

#: Words of at least this many letters count anywhere in a name, shorter ones only as a part: "pin" is in "shipping".
_LONG = 5

#: Parts of names that contain a word and are not secret, and words before "key" that make it harmless.
_HARMLESS = frozenset(
    ("obsession", "obsessions", "possession", "possessions", "secretariat", "secretaries", "secretary")
)
_HARMLESS_KEYS = frozenset(("cache", "foreign", "natural", "partition", "primary", "public", "sort"))

_HUMP = re.compile(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_PART = re.compile(r"[^\W\d_]+|\d+")

#: Each secret form contains one of these, whatever its case. They are searched first: that is quick, and most texts have none.
_TRACES = ("eyJ", "-----BEGIN", "earer", "EARER", "asic", "ASIC")

_PASSWORD_IN_ADDRESS = re.compile(
    r"(\b[a-z][a-z\d+.-]{0,30}://[^\s/?#@:\"'<>]{0,200}:)[^\s/?#\"'<>]{1,500}@", re.IGNORECASE
)
_KEY_IN_ADDRESS = re.compile(r"(\bhttps?://)[^\s/?#@:\"'<>]{16,500}@", re.IGNORECASE)
_BY_ITS_FORM = re.compile(
    # A JSON Web Token. It may begin anywhere in a row of such letters, so the search there is bounded.
    r"(?:(?<![\w-])eyJ[\w-]{8,}+|\beyJ[\w-]{8,1000}+)\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?<=-----BEGIN )[A-Z ]{0,40}PRIVATE KEY-----(?:(?!-----END).)*"
    r"|(?i:(?<=\bbearer\s))[\w.~+/=-]{6,}"
    r"|(?i:(?<=\bbasic\s))(?=\S*[A-Z\d=])[A-Za-z\d+/]{6,}={0,2}",
    re.DOTALL,
)
#: A name, perhaps in quotes that are perhaps escaped, and the characters between it and its value.
_NAME = re.compile(rf"(?<![\w-])([\w-]{{1,{LONGEST_NAME}}})(\\*[\"']?\]?\s{{0,3}}(?:=>?|:(?!//))\s{{0,3}})")
_QUOTE = re.compile(r"\\*[\"']")
_WORD = re.compile(r"[^\s&\"']*")
_PLAIN_IN_JSON = re.compile(r"[^\s,}\]]*")
_LINE = re.compile(r"[^\r\n]*")


class Masks:
    """Recognises secrets by words: case, ``-``, ``_``, spaces and humps make no difference.

    :param words: the words that make a name secret.
    """

    def __init__(self, words: Sequence[str]) -> None:
        parts = [_parts(word) for word in words]
        self._anywhere = [word for each in parts if len(word := "".join(each)) >= _LONG]
        short = [each for each in parts if each and len("".join(each)) < _LONG]
        self._parts = [f" {' '.join(each)}{plural} " for each in short for plural in ("", "s")]
        # No other word contains these, so they count within a part: "dbpwd".
        self._in_parts = [word for each in short if not set(word := "".join(each)) & set("aeiouy0123456789")]
        self.is_secret = functools.lru_cache(maxsize=1000)(self._is_secret)

    def _is_secret(self, name: str) -> bool:
        """Whether a value of that name is secret."""
        parts = [part for part in _parts(name) if part not in _HARMLESS]
        parts = [
            part
            for before, part in zip(["", *parts], parts, strict=False)
            if not (part in ("key", "keys") and before in _HARMLESS_KEYS)
        ]
        squashed, spaced = "".join(parts), f" {' '.join(parts)} "
        return (
            any(word in squashed for word in self._anywhere)
            or any(word in spaced for word in self._parts)
            or any(word in part for word in self._in_parts for part in parts)
        )

    @staticmethod
    def suspect(text: str) -> bool:
        """Whether a text may have secrets: most have none, which takes a fraction of the time to see."""
        # Step by step, which takes half of the time: all lines that tasks log are looked at. A single character is found quickly,
        # and each trace with a capital letter has one of these three.
        return (
            ":" in text
            or "=" in text
            or "earer" in text
            or "asic" in text
            or (("J" in text or "A" in text or "G" in text) and bool([trace for trace in _TRACES if trace in text]))
        )

    def text(self, text: str) -> str:
        """Return a text of at most ``LONGEST_TEXT`` characters with its secrets masked."""
        if "://" in text and "@" in text:
            text = _PASSWORD_IN_ADDRESS.sub(rf"\1{MASK}@", text)
            text = _KEY_IN_ADDRESS.sub(rf"\1{MASK}@", text)
        for trace in _TRACES:
            if trace in text:
                text = _BY_ITS_FORM.sub(MASK, text)
                break
        return "".join(self._without_named(text)) if ":" in text or "=" in text else text

    def beginning(self, text: str) -> str:
        """Return the masked beginning of a longer text, without its last word: that may be half of a secret."""
        head = text[:LONGEST_TEXT]
        words = head[-LONGEST_WORD:].split()
        return self.text(head.removesuffix(words[-1]) if words else head)

    def _without_named(self, text: str) -> Iterator[str]:
        done = 0
        for found in _NAME.finditer(text):
            if found.start() >= done and self.is_secret(found[1]):
                yield text[done : found.end()] + MASK
                done = _end_of_value(text, found.end(), found[2])
        yield text[done:]


def _parts(name: str) -> list[str]:
    return _PART.findall(_HUMP.sub(" ", name[:LONGEST_NAME]).lower())


def _end_of_value(text: str, start: int, between: str) -> int:
    """Return the index at which a value ends; the characters between it and its name say how it is written."""
    if quote := _QUOTE.match(text, start):
        return _end_of_quoted(text, quote.end(), quote[0])
    if text[start : start + 1] in ("[", "{", "("):
        return len(text)
    is_quoted = "'" in between or '"' in between
    pattern = _WORD if ":" not in between else _PLAIN_IN_JSON if is_quoted else _LINE
    rest = pattern.match(text, start)
    return rest.end() if rest else start


def _end_of_quoted(text: str, start: int, quote: str) -> int:
    """Return the end after the next unescaped quote of the same kind; the end of the text if there is none."""
    while (end := text.find(quote, start)) >= 0:
        if text[end - 1] != "\\":
            return end + len(quote)
        start = end + 1
    return len(text)
