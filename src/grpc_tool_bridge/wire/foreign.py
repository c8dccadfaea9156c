"""Where the code of others runs while a value is written."""


def foreign(value: object) -> None:
    """Called before code of a stranger's runs for ``value``, such as its ``__array__``."""
