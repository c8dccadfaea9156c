"""Dockerfiles, as far as their commands can be run without Docker."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """A line of a Dockerfile, with those that continue it.

    Attributes:
        name: Such as ``RUN``.
        text: What follows, in one line.
    """

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The command of one in JSON form, such as ``ENTRYPOINT ["serve"]``."""
        words: list[str] = json.loads(self.text[self.text.index("[") :])
        return words


def stages(path: Path) -> Mapping[str, Sequence[Instruction]]:
    """Reads the stages of a Dockerfile, each with what it inherits from an earlier one."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: dict[str, list[Instruction]] = {}
    stage: list[Instruction] = []
    for line in filter(None, whole.splitlines()):
        name, _, text = line.partition(" ")
        if name == "FROM":
            base, _, stage_name = text.partition(" AS ")
            stage = found[stage_name] = list(found.get(base, ()))
        else:
            stage.append(Instruction(name, text.strip()))
    return found


def last(stage: Sequence[Instruction], name: str) -> Instruction:
    """Returns the instruction that counts where there are several of a name."""
    return [instruction for instruction in stage if instruction.name == name][-1]
