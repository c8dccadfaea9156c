"""The session store's tests of the testing strategy."""

import pytest

from grpc_tool_bridge import AlreadyExistsError, NotFoundError, ToolSpec
from grpc_tool_bridge.core import SessionStore


@pytest.fixture
def store() -> SessionStore:
    """A fresh store for each test."""
    return SessionStore()


class TestSessionManagement:
    async def test_creates_and_retrieves_session(self, store: SessionStore) -> None:
        session = await store.create_session("test_123", {})
        assert session.id == "test_123"

        retrieved = await store.get_session("test_123")
        assert retrieved.id == "test_123"

    async def test_handles_non_existent_session(self, store: SessionStore) -> None:
        with pytest.raises(NotFoundError, match="missing"):
            await store.get_session("missing")

    async def test_prevents_duplicate_sessions(self, store: SessionStore) -> None:
        await store.create_session("dup_123", {})

        with pytest.raises(AlreadyExistsError, match="dup_123"):
            await store.create_session("dup_123", {})


class TestToolManagement:
    @pytest.fixture
    async def tools(self, store: SessionStore) -> list[ToolSpec]:
        await store.create_session("session_123", {})
        return [ToolSpec(tool_id="tool_1", name="search"), ToolSpec(tool_id="tool_2", name="calculate")]

    async def test_registers_tools_for_session(self, store: SessionStore, tools: list[ToolSpec]) -> None:
        await store.register_tools("session_123", tools)

        assert (await store.get_tool("session_123", "tool_1")).name == "search"

    async def test_isolation_between_sessions(self, store: SessionStore, tools: list[ToolSpec]) -> None:
        await store.register_tools("session_123", tools)
        await store.create_session("session_456", {})

        with pytest.raises(NotFoundError, match="tool_1"):
            await store.get_tool("session_456", "tool_1")


class TestVariableManagement:
    @pytest.fixture(autouse=True)
    async def _session(self, store: SessionStore) -> None:
        await store.create_session("session_123", {})

    async def test_sets_and_gets_variables(self, store: SessionStore) -> None:
        await store.set_variable("session_123", "threshold", 0.95)

        assert await store.get_variable("session_123", "threshold") == 0.95

    async def test_variable_metadata(self, store: SessionStore) -> None:
        metadata = {"type": "float", "created_by": "elixir"}
        await store.set_variable("session_123", "score", 85.5, metadata)

        value, meta = await store.get_variable_with_metadata("session_123", "score")

        assert value == 85.5
        assert meta.type == "float"
        assert meta.created_by == "elixir"


class TestCleanup:
    async def test_removes_session_and_associated_data(self, store: SessionStore) -> None:
        await store.create_session("cleanup_123", {})
        await store.register_tools("cleanup_123", [ToolSpec(tool_id="t1", name="tool")])
        await store.set_variable("cleanup_123", "var", "value")

        await store.cleanup_session("cleanup_123")

        with pytest.raises(NotFoundError):
            await store.get_session("cleanup_123")
        with pytest.raises(NotFoundError):
            await store.get_tool("cleanup_123", "t1")
        with pytest.raises(NotFoundError):
            await store.get_variable("cleanup_123", "var")

    async def test_a_session_of_the_same_id_begins_with_nothing(self, store: SessionStore) -> None:
        await store.create_session("again", {})
        await store.register_tools("again", [ToolSpec(tool_id="t1", name="tool")])
        await store.set_variable("again", "var", "value")
        await store.cleanup_session("again")

        await store.create_session("again", {})

        with pytest.raises(NotFoundError, match="t1"):
            await store.get_tool("again", "t1")
        with pytest.raises(NotFoundError, match="var"):
            await store.get_variable("again", "var")
