"""The mark of a parameter that a provider fills in."""

from typing import Annotated, Any

import pytest

from grpc_tool_bridge import ArgumentTypeError, Depends, tool
from grpc_tool_bridge.tools.depends import Dependency, dependency_of


class Db:
    """A class."""


def get_db() -> Db:
    return Db()


def test_a_mark_stands_in_the_annotation_or_is_the_default() -> None:
    for annotation, default in ((Annotated[Db, Depends(get_db)], 1), (Db, Depends(get_db, use_cache=False))):
        found = dependency_of(annotation, default, "f")
        assert found is not None
        assert (found.provider, found.use_cache) == (get_db, default == 1)
    assert dependency_of(Db, None, "f") is None
    assert dependency_of(Annotated[int, "text"], 3, "f") is None


def test_without_a_provider_it_is_the_class_of_the_parameter() -> None:
    found = dependency_of(Annotated[Db, Depends()], 1, "f")
    assert isinstance(found, Dependency)
    assert found.provider is Db
    for annotation in (Any, int, Annotated[list[Db], ""]):
        with pytest.raises(TypeError, match=r"f: Depends\(\) makes an object of the parameter's class"):
            dependency_of(annotation, Depends(), "f")


def test_wrong_marks_are_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"provider is .*Db.*; it must be a function .* without \(\)"):
        Depends(Db())  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ArgumentTypeError, match="use_cache is 1; it must be True or False"):
        Depends(get_db, use_cache=1)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="it has 2 Depends; remove all but one"):
        dependency_of(Annotated[Db, Depends(get_db)], Depends(get_db), "f")
    with pytest.raises(TypeError, match="Depends must be called"):
        dependency_of(Annotated[Db, Depends], 1, "f")


def test_the_parameters_after_a_dependency_are_given_by_name() -> None:
    @tool
    def work(a: int, db: Annotated[Db, Depends(get_db)], b: int = 2) -> int:
        return a + b

    assert [item.name for item in work.spec.arguments] == ["a", "b"]
    assert work.bind([1, 3], {}) == ([1], {"b": 3})
    assert work.bind([1], {"b": 4}) == ([1], {"b": 4})


def test_a_dependency_must_be_given_by_name() -> None:
    def only(db: Annotated[Db, Depends(get_db)], /) -> None:
        """Positional only."""

    def starred(db: Annotated[Db, Depends(get_db)], *args: int) -> None:
        """Before the starred one."""

    with pytest.raises(TypeError, match="'db' is given by name: it must not be positional-only or starred"):
        tool(only).spec  # noqa: B018 - read at the latest there
    with pytest.raises(TypeError, match="'db' comes before the starred one; put it after that"):
        tool(starred).spec  # noqa: B018 - likewise


def test_a_tool_without_dependencies_has_nothing_of_them() -> None:
    @tool
    async def plain(a: int) -> int:
        return a

    assert plain.dependencies is None
    assert not plain.needs_context
