"""Fuzzes the targets with atheris, which looks for inputs that reach new code: ``make fuzz SECONDS=60 TARGET=frames``.

What it finds is kept in ``build/fuzz`` between runs; ``ARGS=--keep`` adds to the corpus what of it reaches more code.
An input that crashes, hangs or takes too much memory goes into the corpus at once, where the tests run it from then on.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fuzz.corpus import names, target
from fuzz.keep import keep

FOUND = Path("build/fuzz")
PACKAGE = "grpc_tool_bridge"
# Of one input: it is small, so that more is a fault.
MAX_BYTES = 8_192
MAX_SECONDS = 10
MAX_MIB = 2_048


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzzes each target in a process of its own; returns 1 if one has a fault."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description="Look for inputs that are not refused.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", action="store_true", help="instead, add to the corpus what was found to reach more")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(names())}")
    options = parser.parse_args(arguments)
    unknown = sorted({*options.targets} - {*names()})
    if unknown:
        parser.error(f"no target is called {', '.join(unknown)}; there are {', '.join(names())}")
    chosen = options.targets or names()
    if options.inside:
        _fuzz(chosen[0], options.seconds)
    if options.keep:
        for name in chosen:
            for path in keep(target(name), FOUND / name, PACKAGE):
                print(f"{name}: {path.relative_to(Path.cwd())}")
        return 0
    return max([_in_process(name, options.seconds) for name in chosen])


def _in_process(name: str, seconds: int) -> int:
    """Fuzzes one target; says how to repeat what it found."""
    before = set(target(name).inputs())
    command = [sys.executable, "-m", "fuzz.run", "--inside", "--seconds", str(seconds), name]
    code = subprocess.run(command, check=False).returncode
    for path in sorted(set(target(name).inputs()) - before):
        test = f"tests/fuzz/test_corpus.py::test_an_input_is_read_or_refused[{name}/{path.name}]"
        print(f"{name}: {path.relative_to(Path.cwd())}")
        print(f"repeat it with: .venv/bin/python -m pytest '{test}'")
    return int(code != 0)


def _fuzz(name: str, seconds: int) -> None:
    """Fuzzes a target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=[PACKAGE, "fuzz.targets"]):
        fuzzed = target(name)
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    fuzzed.folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-timeout={MAX_SECONDS}",
        f"-rss_limit_mb={MAX_MIB}",
        f"-artifact_prefix={fuzzed.folder}/",
        # What is found goes into the first folder.
        str(found),
        str(fuzzed.folder),
    ]
    atheris.Setup([sys.argv[0], *options], fuzzed.run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
