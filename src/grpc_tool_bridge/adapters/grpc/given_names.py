"""The names by which fields are given: whether each is known, given once, and may be given with the others."""

from collections.abc import Collection, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor

from grpc_tool_bridge.adapters.grpc.fields import is_required, json_names, oneofs_of, takes_null
from grpc_tool_bridge.adapters.grpc.problems import Problems, said, step_to

_MAX_LISTED = 20


class GivenNames:
    """What is checked of the names of the fields that are given.

    Attributes:
        nullable: Names of fields for which null is a value.
        required: Names of fields that must be given.
        watched: Names that need to be checked: JSON names, and members of oneofs.
        listed: The names that errors list.
    """

    def __init__(self, descriptor: Descriptor, names: Collection[str]) -> None:
        self._aliases = json_names(descriptor)
        by_name = descriptor.fields_by_name
        fields = {name: by_name.get(self._aliases.get(name, name)) for name in names}
        self.nullable = {name for name, field in fields.items() if field is not None and takes_null(field)}
        self.required = [field.name for field in descriptor.fields if is_required(field)]
        self._oneofs = [[item.name for item in items] for _, items in oneofs_of(descriptor) if len(items) > 1]
        self.watched = {name for names in self._oneofs for name in names} | self._aliases.keys()
        self.listed = [name for name in names if name not in self._aliases]

    def check(self, given: Mapping[str, Any], problems: Problems) -> None:
        """Refuses a field given by both of its names, several fields of a oneof, and that one is missing."""
        names = [name for name in given if given[name] is not None or name in self.nullable]
        by_name: dict[str, str] = {}
        for name in names:
            field = self._aliases.get(name, name)
            if field in by_name:
                alias = name if name != field else by_name[field]
                problems.add(step_to(field), said(f"given twice, as '{field}' and as '{alias}'"))
            by_name[field] = name
        for members in self._oneofs:
            chosen = [member for member in members if member in by_name]
            if len(chosen) > 1:
                listed = ", ".join(f"'{member}'" for member in members[:_MAX_LISTED])
                problems.add(step_to(chosen[1]), said(f"only one of {listed} may be given, '{chosen[0]}' is as well"))
        for name in self.required:
            if name not in by_name:
                problems.add(step_to(name), said("missing"))
