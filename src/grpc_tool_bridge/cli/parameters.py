"""How commands declare their options and arguments, without what parses them: that takes long to import."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """An option; stands in ``Annotated`` beside its type, as ``typer.Option`` does.

    Attributes:
        flags: Such as ``--json``, ``--tls/--no-tls`` or ``-f, --follow``; None: ``--`` and the parameter's name.
        help: Its help text.
        metavar: Stands for its value in the help.
        envvar: The environment variable that gives its value, if it is not given.
        min, max: The range of a number.
        show_default: Whether the help shows the default.
        panel: The title above it in the help.
        complete: What a shell completes its value with, as ``completion_values`` names it; empty: nothing.
        choices: All values that it takes, for that; empty: not only some.
    """

    flags: str | None = None
    help: str = ""
    metavar: str | None = None
    envvar: str | None = None
    min: float | None = None
    max: float | None = None
    show_default: bool = True
    panel: str | None = None
    complete: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Argument:
    """An argument by position; stands in ``Annotated`` beside its type, as ``typer.Argument`` does.

    Attributes:
        metavar: Its name in the help.
        help: Its help text.
        complete: As for an option.
        choices: As for an option.
    """

    metavar: str
    help: str
    complete: str = ""
    choices: tuple[str, ...] = ()
