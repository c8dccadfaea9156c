"""Texts that can travel."""


def is_text(value: str) -> bool:
    """Returns whether a text has no lone surrogate, which strict parsers refuse."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
