"""A toxic as its users name it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, get_args

from grpc_tool_bridge.testing.toxiproxy.effects import EFFECTS, Effect

Direction = Literal["upstream", "downstream"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True, kw_only=True)
class Toxic:
    """What a proxy does to the connections that it meets.

    Attributes:
        name: Its name, which its proxy has only once.
        type: Which effect it has.
        stream: The direction that it is in, as its user wrote it: "upstream", to the server, or "downstream".
        toxicity: The share of connections that it takes part in, from 0 to 1.
        effect: Its attributes.
    """

    name: str
    type: str
    stream: str
    toxicity: float
    effect: Effect

    @property
    def direction(self) -> Direction:
        """The direction that it is in."""
        return "upstream" if self.stream.lower() == "upstream" else "downstream"

    def changed(self, attributes: Mapping[str, int], toxicity: float | None) -> Self:
        """Returns it with other attributes and toxicity; what is not given stays."""
        effect: Any = self.effect
        return replace(
            self,
            effect=replace(effect, **attributes),
            toxicity=self.toxicity if toxicity is None else toxicity,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns it as Toxiproxy writes it."""
        effect: Any = self.effect
        share = int(self.toxicity) if self.toxicity == int(self.toxicity) else self.toxicity
        return {
            "attributes": asdict(effect),
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": share,
        }


def attributes_of(toxic_type: str) -> tuple[str, ...]:
    """Names the attributes of a type; each is an integer with the default 0."""
    effect: Any = EFFECTS[toxic_type]
    return tuple(field.name for field in fields(effect))


def default_name(toxic_type: str, stream: str) -> str:
    """Returns the name of a toxic that was not given one."""
    return f"{toxic_type}_{stream}"
