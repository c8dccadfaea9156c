"""Fuzzes the targets with atheris, which looks for inputs that reach new code: ``make fuzz SECONDS=60 TARGET=frames``.

What it finds is kept in ``build/fuzz`` between runs. An input that crashes, hangs or takes too much memory goes into
the corpus of its target, where the tests run it from then on.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fuzz.corpus import CORPUS, names, target

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
    if options.inside:
        _fuzz(options.targets[0], seconds=options.seconds, keep=options.keep)
    chosen = options.targets or names()
    return max([_in_process(name, seconds=options.seconds, keep=options.keep) for name in chosen])


def _in_process(name: str, *, seconds: int, keep: bool) -> int:
    """Fuzzes one target; names what it found."""
    before = set(target(name).folder.glob("*"))
    command = [sys.executable, "-m", "fuzz.run", "--inside", "--seconds", str(seconds), name]
    code = subprocess.run([*command, "--keep"] if keep else command, check=False).returncode
    found = sorted(set(target(name).folder.glob("*")) - before)
    for path in found:
        print(f"{name}: {path.relative_to(Path.cwd())}")
        if not keep:
            test = f"tests/fuzz/test_corpus.py::test_an_input_is_read_or_refused[{name}/{path.name}]"
            print(f"repeat it with: .venv/bin/python -m pytest '{test}'")
    return int(code != 0)


def _fuzz(name: str, *, seconds: int, keep: bool) -> None:
    """Fuzzes a target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=[PACKAGE, "fuzz.targets"]):
        fuzzed = target(name)
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    fuzzed.folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_len={MAX_BYTES}", f"-timeout={MAX_SECONDS}", f"-rss_limit_mb={MAX_MIB}"]
    if keep:
        options = ["-merge=1", *limits, str(CORPUS / name), str(found)]
    else:
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={fuzzed.folder}/", "-print_final_stats=1", *limits]
        options += [str(found), str(CORPUS / name)]
    atheris.Setup([sys.argv[0], *options], fuzzed.run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
