"""The words of tools and of queries, as the search of tools compares them."""

import re
from collections.abc import Iterator
from itertools import pairwise

from grpc_tool_bridge.llm.tool_args import read_schema
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# What is indexed of one tool, in characters; longer texts are cut.
MAX_DESCRIPTION_CHARS = 4_000
MAX_ARGUMENTS_CHARS = 4_000
MAX_EXAMPLES_CHARS = 1_000
# What is read of a query.
MAX_QUERY_CHARS = 4_000
MAX_QUERY_WORDS = 16
MAX_WORD_CHARS = 64

# Spaces, controls and punctuation of ASCII, the underscore too. Everything else is left to SQLite, which splits the
# texts of tools and those of queries in the same way.
_SEPARATORS = re.compile(r"[\x00-\x20!-/:-@\[-`{-\x7f]+")
# Where a word of a name begins without a separator: getUser, HTTPServer, utf8.
_BORDERS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
# Han and kana are written without spaces: each character is a word, and two together are what a query is about.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")

# Words of a sentence that say nothing about a tool.
_STOP_WORDS = """
    a an and any are as at be been but by can could did do does doing for from had has have having he help her here him
    his how i if in into is it its just let like me my need no not of on one or our out please she should so some such
    than that the their them then there these they this those to too up us use using via want was we were what when
    where which who why will with would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def texts_of(spec: ToolSpec) -> tuple[str, str, str]:
    """Returns what is indexed of a tool: the words of its name, its description, and its arguments and examples."""
    arguments: list[str] = []
    size = 0
    for text in _argument_texts(spec):
        arguments.append(text[:MAX_ARGUMENTS_CHARS])
        size += len(text)
        if size > MAX_ARGUMENTS_CHARS:
            break
    examples = " ".join(spec.examples[:10])[:MAX_EXAMPLES_CHARS]
    about = " ".join(arguments)[:MAX_ARGUMENTS_CHARS]
    return (
        _clean(_name_words(spec.name)),
        _clean(_apart(spec.description[:MAX_DESCRIPTION_CHARS])),
        _clean(_apart(f"{about} {examples}")),
    )


def plain_name(text: str) -> str:
    """Returns a name without case and separators: ``get_user``, ``getUser`` and "Get user" are the same."""
    return _SEPARATORS.sub("", text).casefold()


def query_words(query: str) -> list[str]:
    """Returns the words of a query, each once, in order, and without those that say nothing.

    A query of nothing but such words, such as "to do", keeps them. No word has a quote or a control character. A word
    of Han or kana has at most two characters, with a space between them.
    """
    words = dict.fromkeys(_words(_clean(query[:MAX_QUERY_CHARS])))
    telling = [word for word in words if word not in STOP_WORDS]
    return (telling or list(words))[:MAX_QUERY_WORDS]


def _words(query: str) -> Iterator[str]:
    for piece in _SEPARATORS.split(query):
        for run in _RUN.findall(piece):
            if _IS_UNSPACED.match(run):
                yield from (f"{one} {two}" for one, two in pairwise(run))
                if len(run) == 1:
                    yield run
                continue
            if not any(map(str.isalnum, run)):
                # Such as an emoji, which SQLite does not take for a word.
                continue
            parts = _BORDERS.sub(" ", run).split()
            yield from (part[:MAX_WORD_CHARS].lower() for part in parts)
            if len(parts) > 1:
                yield run[:MAX_WORD_CHARS].lower()


def _argument_texts(spec: ToolSpec) -> Iterator[str]:
    """Yields names, descriptions and values of the arguments; those of the schema if the spec lists none."""
    for argument in spec.arguments:
        yield _name_words(argument.name)
        yield argument.description
        yield from argument.allowed_values
    if spec.arguments:
        return
    properties = read_schema(spec).get("properties")
    for name, part in properties.items() if isinstance(properties, dict) else ():
        yield _name_words(name)
        if isinstance(part, dict):
            yield from (text for text in (part.get("title"), part.get("description")) if isinstance(text, str))
            values = part.get("enum")
            yield from (value for value in values if isinstance(value, str)) if isinstance(values, list) else ()


def _name_words(name: str) -> str:
    """Returns the words of a name and, for one that is written together, the whole: ``get User getUser``."""
    pieces = _SEPARATORS.split(name)
    apart = [_BORDERS.sub(" ", piece) for piece in pieces]
    whole = [piece for piece, words in zip(pieces, apart, strict=True) if piece != words]
    return _apart(" ".join([*apart, *whole]))


def _apart(text: str) -> str:
    """Puts spaces around the characters of scripts that are written without them."""
    return text if text.isascii() else _IS_UNSPACED.sub(r" \g<0> ", text)


def _clean(text: str) -> str:
    """Returns a text that SQLite takes: half a character, which no UTF-8 has, becomes a question mark."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\0", " ")
