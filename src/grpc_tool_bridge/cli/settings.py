"""Settings as options of ``serve`` and ``worker``, and what they come to with the environment and the file."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pydantic
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from grpc_tool_bridge.cli.failures import ArgumentError, file_error, say_warning
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.config import Settings, load_settings

# A setting that is a float is a time.
_METAVARS = ((Path, "FILE"), (float, "SECONDS"), (int, "N"), (str, "TEXT"))
_PANEL = "Settings (also TOOL_BRIDGE_… and --config)"


def setting(name: str, flag: str = "", *, metavar: str | None = None) -> Any:
    """Makes the option of a field of ``Settings``, named like the field or by its ``flag``.

    It has no default, so that the environment and the file apply if it is not given.
    """
    field = Settings.model_fields[name]
    flag = flag or f"--{name.replace('_', '-')}"
    declaration = f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag
    about = field.description or name
    text = f"{about[:1].upper()}{about[1:]} (default: {default_text(field)})."
    return Option(declaration, help=text, metavar=metavar or _metavar(name, field), show_default=False, panel=_PANEL)


def _metavar(name: str, field: FieldInfo) -> str | None:
    """Returns what stands for the value in the help; None: typer lists the values that there are."""
    if name.endswith("_bytes"):
        return "BYTES"
    kinds = {field.annotation, *get_args(field.annotation)}
    return next((word for kind, word in _METAVARS if kind in kinds), None)


def default_text(field: FieldInfo) -> str:
    """Writes a setting's default for people."""
    if field.default is None or field.default == ():
        return "none"
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    if isinstance(field.default, tuple):
        return ", ".join(field.default)
    return f"{field.default:g}" if isinstance(field.default, float) else str(field.default)


def read_settings(flags: dict[str, Any], config_file: Path | None) -> Settings:
    """Reads the settings from flags, then environment, then file, and checks them before the hub starts.

    Raises:
        ArgumentError: A setting is not valid, or a file cannot be read.
    """
    settings = named_settings(flags, config_file)
    token = _secret(settings.bearer_token, settings.token_file)
    _check_keys(settings)
    shared = _secret(settings.secret_of_cluster, settings.cluster_secret_file)
    return settings.model_copy(
        update={"token": token, "token_file": None, "cluster_secret": shared, "cluster_secret_file": None}
    )


def named_settings(flags: dict[str, Any], config_file: Path | None) -> Settings:
    """As ``read_settings``, without reading the files that the settings name."""
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
    return settings


def model_text(settings: Settings) -> str:
    """Describes the default model of agents."""
    if settings.agent_model is None:
        return "the model that each agent names"
    # A base URL may contain a user and a password.
    base = re.sub(r"//.*@", "//***@", settings.agent_api_base or "")
    return settings.agent_model + (f" at {base}" if base else "")


def _secret(read: Callable[[], str | None], file: Path | None) -> SecretStr | None:
    try:
        secret = read()
    except OSError as error:
        raise file_error(error, file) from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    return None if secret is None else SecretStr(secret)


def _check_keys(settings: Settings) -> None:
    """Checks the keys that values are sealed with; raises ArgumentError."""
    if settings.secrets_key is None and settings.secrets_key_file is None:
        return
    try:
        from grpc_tool_bridge.auth.secrets.sealer import sealer_of

        sealer_of(settings)
    except OSError as error:
        raise file_error(error, settings.secrets_key_file) from None
    except (ImportError, ValueError) as error:
        raise ArgumentError(str(error)) from None


def settings_error(error: pydantic.ValidationError) -> ArgumentError:
    """Returns the error for invalid settings; it names each, but shows no values, which may be secret."""
    parts = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        text = item["msg"].removeprefix("Value error, ")
        name = ".".join(str(part) for part in item["loc"])
        origin = f"its flag, TOOL_BRIDGE_{name.upper()} or the TOML file"
        parts.append(f"setting {name}: {text[:1].lower()}{text[1:]} (from {origin})" if name else text)
    return ArgumentError("; ".join(parts))
