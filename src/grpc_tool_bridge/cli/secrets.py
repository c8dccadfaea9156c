"""``secrets key`` and ``rotate``: the keys that a store's values are sealed with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.options import JsonOption
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.store import StoreArgument, loaded, path_of, say, working
from grpc_tool_bridge.cli.streams import require_stdout, write

if TYPE_CHECKING:
    from grpc_tool_bridge.auth.secrets.keys import SealingKey
    from grpc_tool_bridge.auth.secrets.sealer import Sealer


def make_key(
    *,
    file: Annotated[
        Path | None,
        Option(
            "--file",
            metavar="FILE",
            help="Put the key into this file, before those that it has, instead of printing it. The file is made if it "
            "is not there, and only this user can read it.",
        ),
    ] = None,
    last: Annotated[
        bool,
        Option("--last", help="With --file: put it after the others, so that it opens values, and seals none yet."),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Make a key that the values of secret variables are sealed with.

    The first key of a file seals, and all of them open. Whoever has the key and the store can read the values; without
    the key, nobody can.
    """
    require_stdout()
    from grpc_tool_bridge.auth.secrets.keys import new_key

    key = new_key()
    if file is None:
        if last:
            raise ArgumentError("--last: of a file only; give --file, too")
        if as_json:
            say({"key_id": key.id, "key": key.line()}, "", as_json=True)
        else:
            write(key.line() + "\n")
        return 0
    count = _put(key, file, last=last)
    others = f"; {count} more {'key opens' if count == 1 else 'keys open'} what they sealed" if count else ""
    text = f"{file} has key {key.id}, which {'opens, and seals nothing yet' if last else 'seals from the next start'}"
    say({"key_id": key.id, "file": str(file), "others": count}, text + others, as_json=as_json)
    return 0


def rotate(
    store: StoreArgument,
    *,
    secrets_key_file: Annotated[
        Path | None, Option("--secrets-key-file", metavar="FILE", help="The keys. Default: as the settings say.")
    ] = None,
    config: Annotated[Path | None, Option("--config", metavar="FILE", help="TOML file with settings by name.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Seal what is in a store with the first key, while no hub has it.

    What an older key has sealed gets the first one, and so do values of secret variables that are not sealed. Then the
    older keys are no longer needed for this store; for its backups, they are.
    """
    sealer = _sealer(secrets_key_file, config)
    with working():
        from grpc_tool_bridge.stores.sqlite.rotation import rotate

        loaded()
        made = rotate(path_of(store), sealer)
    present = sealer.keys[0].id
    others = {key_id: count for key_id, count in sorted(made.by_key.items()) if key_id != present}
    facts = {
        "store": store, "key_id": present, "sealed": made.sealed, "values_by_key": dict(sorted(made.by_key.items())),
        "seconds": round(made.seconds, 3),
    }  # fmt: skip
    text = f"{made.sealed} values were sealed with key {present}, which {made.by_key[present]} have now"
    say(facts, f"{text}; that took {made.seconds:.1f} s", as_json=as_json)
    if others:
        named = ", ".join(f"{count} with key {key_id}" for key_id, count in others.items())
        raise CommandError(
            f"{named} stay as they were: their key is not among those given, or does not open them; give the keys that "
            "sealed them, too"
        )
    return 0


def _sealer(file: Path | None, config: Path | None) -> "Sealer":
    from grpc_tool_bridge.cli.settings import read_settings

    settings = read_settings({"secrets_key_file": file}, config)
    try:
        from grpc_tool_bridge.auth.secrets.sealer import sealer_of
    except ImportError as error:
        raise ArgumentError(str(error)) from None
    sealer = sealer_of(settings)
    if sealer is None:
        raise ArgumentError("there is no key to seal with; give --secrets-key-file, which secrets key --file makes")
    return sealer


def _put(key: "SealingKey", file: Path, *, last: bool) -> int:
    """Puts a key into a file, which is replaced at once; returns how many others it has."""
    from grpc_tool_bridge.auth.secrets.keys import read_keys
    from grpc_tool_bridge.cli.failures import file_error
    from grpc_tool_bridge.config.secret_files import read_secret

    named = f"--file {file}"
    known = ""
    try:
        if file.exists():
            known = read_secret(file, "--file").decode("utf-8", "replace")
        count = len(read_keys(known, named)) if known.strip() else 0
        text = f"{known.rstrip()}\n{key.line()}\n" if last and known.strip() else f"{key.line()}\n{known}"
        part = file.with_name(f".{file.name}.part")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as written:
            written.write(text)
            written.flush()
            os.fsync(descriptor)
        part.replace(file)
    except OSError as error:
        raise file_error(error, file) from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    return count
