"""A command as typer reads it: help, and the errors of wrong command lines."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand

from grpc_tool_bridge.cli.command import Command
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.program_name import PROGRAM

# The class of errors in a command line, which has no public name.
_UsageError: Any = typer.BadParameter.__base__

HELP_OPTION = {"help_option_names": ["-h", "--help"]}
_NUMBER = re.compile(r"-\.?\d")


def run_alone(command: Command, words: Sequence[str], name: str) -> int:
    """Runs one command with the words after it, and its name in errors; otherwise as ``run``."""
    app = typer.Typer(add_completion=False, context_settings=HELP_OPTION)
    add_command(app, name, command)
    return run_app(app, words, f"{PROGRAM} {name}")


def run_app(app: typer.Typer, words: Sequence[str], name: str) -> int:
    """Runs a command line of an application; ``name`` is what errors call it. Otherwise as ``run`` of ``typer_app``."""
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        code = command(args=words, prog_name=name, standalone_mode=False)
    except _UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else name
        text = _usage_text(error)
        text = f"{text} See {path} --help" if text.endswith("?") else f"{text}; see {path} --help"
        raise ArgumentError(text) from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else 0


class FlagHelp:
    """Mixed into a command: ``--help`` is a flag, too."""

    def get_help_option(self, ctx: Any) -> Any:
        """Returns the option without the type that typer would show."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.metavar = ""
        return option


def add_command(app: typer.Typer, name: str, command: Command) -> None:
    """Registers a command of ``app``."""

    def callback(**values: Any) -> int:
        return command.run(values)

    parameters = [item.replace(annotation=_of_typer(item.annotation)) for item in command.parameters]
    callback.__doc__ = command.help
    callback.__dict__["__signature__"] = inspect.Signature(parameters)
    callback.__annotations__ = {item.name: item.annotation for item in parameters}
    app.command(name, cls=_InputsCommand if command.takes_inputs else _WordsCommand)(callback)


def _of_typer(annotation: Any) -> Any:
    """Returns the annotation of a parameter as typer understands it."""
    kind, declared = get_args(annotation)
    match declared:
        case Argument():
            return Annotated[kind, typer.Argument(metavar=declared.metavar, help=declared.help)]
        case Option():
            return Annotated[
                kind,
                typer.Option(
                    *([] if declared.flags is None else declared.flags.split(", ")),
                    # Typer would name the type of a flag, as if it took a value.
                    metavar="" if bool in (kind, *get_args(kind)) else declared.metavar,
                    help=declared.help,
                    envvar=declared.envvar,
                    min=declared.min,
                    max=declared.max,
                    show_default=declared.show_default,
                    rich_help_panel=declared.panel,
                ),
            ]
    raise TypeError(f"{declared!r} declares neither an option nor an argument")


class _WordsCommand(FlagHelp, TyperCommand):
    """Parses ``-1`` as an argument and not as an option, as if after ``--``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the options before the arguments, and ``--`` between them."""
        options: list[str] = []
        words: list[str] = []
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                words += rest
            elif not arg.startswith("-") or arg == "-" or _NUMBER.match(arg):
                words.append(arg)
            else:
                options.append(arg)
                if self._takes_value(arg):
                    options += [value for value in (next(rest, None),) if value is not None]
        return super().parse_args(ctx, [*options, *(["--", *words] if words else [])])

    def _takes_value(self, option: str) -> bool:
        return any(option in item.opts and not getattr(item, "is_flag", True) for item in self.params)


class _InputsCommand(_WordsCommand):
    """Accepts ``--question TEXT``, or any other input name, for ``--input question=TEXT``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Converts options that the command does not define to inputs."""
        own = {name for item in self.get_params(ctx) for name in (*item.opts, *item.secondary_opts)}
        written: list[str] = []
        rest = iter(args)
        for arg in rest:
            name, equals, value = arg.partition("=")
            if arg == "--":
                written += [arg, *rest]
            elif not arg.startswith("--") or name in own:
                written.append(arg)
                if not equals and self._takes_value(arg):
                    written += [value for value in (next(rest, None),) if value is not None]
            else:
                if not equals:
                    given = next(rest, None)
                    if given is None:
                        raise ArgumentError(f"{arg} needs a value")
                    value = given
                # Field names have no hyphens.
                written += ["--input", f"{name[2:].replace('-', '_')}={value}"]
        return super().parse_args(ctx, written)


def _usage_text(error: Any) -> str:
    text = error.format_message().rstrip(".").replace("Value error, ", "")
    return f"{text[:1].lower()}{text[1:]}"
