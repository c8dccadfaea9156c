"""Options that are settings of the hub: named, described and defaulted by ``Settings`` alone."""

import re
import warnings
from pathlib import Path
from typing import Any

import pydantic
import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from grpc_tool_bridge.cli.failures import ArgumentError, file_error, say_warning, settings_error
from grpc_tool_bridge.config import Settings, load_settings

_PANEL = "Settings (also TOOL_BRIDGE_… and --config)"


def setting(name: str, flag: str = "") -> Any:
    """Makes the option of a setting.

    Args:
        name: Of a field of ``Settings``.
        flag: What the option is called; empty: as the setting.

    Returns:
        An option without a default, so that a setting that is not given is left to the environment and the file.
    """
    field = Settings.model_fields[name]
    flag = flag or f"--{name.replace('_', '-')}"
    declaration = f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag
    about = field.description or name
    text = f"{about[:1].upper()}{about[1:]} (default: {default_text(field)})."
    return typer.Option(declaration, help=text, show_default=False, rich_help_panel=_PANEL)


def default_text(field: FieldInfo) -> str:
    """Writes a setting's default for people."""
    if field.default is None or field.default == ():
        return "none"
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    return f"{field.default:g}" if isinstance(field.default, float) else str(field.default)


def read_settings(flags: dict[str, Any], config_file: Path | None) -> Settings:
    """Reads the settings by flag, then environment, then file, and checks what can be checked before the hub starts.

    Raises:
        ArgumentError: A setting is not valid, or a file cannot be read.
    """
    try:
        with warnings.catch_warnings(record=True) as noticed:
            warnings.simplefilter("always", DeprecationWarning)
            settings = load_settings(flags, config_file)
    except pydantic.ValidationError as error:
        raise settings_error(error) from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    except OSError as error:
        raise file_error(error, config_file) from None
    for warning in noticed:
        say_warning(str(warning.message))
    return settings.model_copy(update={"token": _token(settings), "token_file": None})


def model_text(settings: Settings) -> str:
    """Says which model agents run with that name none."""
    if settings.agent_model is None:
        return "the model that each agent names"
    # A base URL may hold a user and a password.
    base = re.sub(r"//.*@", "//***@", settings.agent_api_base or "")
    return settings.agent_model + (f" at {base}" if base else "")


def _token(settings: Settings) -> SecretStr | None:
    try:
        token = settings.bearer_token()
    except OSError as error:
        raise file_error(error, settings.token_file) from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    return None if token is None else SecretStr(token)
