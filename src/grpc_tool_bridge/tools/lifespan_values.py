"""What lifespans have yielded, as tools read it: ``ctx.lifespan["db"]``."""

from collections.abc import Iterator, Mapping
from typing import Any, Never

from grpc_tool_bridge.errors.near_names import did_you_mean


class LifespanValues(Mapping[str, Any]):
    """Values by name, which say what there is when a name is missing.

    Args:
        values: The values.
        is_served: Whether there is a lifespan at all.
    """

    def __init__(self, values: Mapping[str, Any], *, is_served: bool = True) -> None:
        self._values = dict(values)
        self._is_served = is_served

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self._refuse(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<lifespan values: {', '.join(self._values) or 'none'}>"

    def _refuse(self, name: str) -> Never:
        if not self._is_served:
            raise KeyError(f"there is no lifespan, so there is no {name!r}; give one as lifespan= or --lifespan")
        hint = did_you_mean(str(name), self._values, n=1, quoted=True)
        known = ", ".join(map(repr, self._values)) or "nothing"
        raise KeyError(f"no lifespan has yielded {name!r}, only {known}{hint}")


# Of a hub or a worker without a lifespan.
NO_LIFESPAN = LifespanValues({}, is_served=False)
