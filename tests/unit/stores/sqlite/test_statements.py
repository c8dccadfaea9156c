"""The statements that write an SQLite store."""

import sqlite3

import pytest

from grpc_tool_bridge.stores.sqlite import statements
from grpc_tool_bridge.stores.sqlite.schema import MIGRATIONS, statements_of
from grpc_tool_bridge.stores.sqlite.statements import ROWS, of_rows, takes_rows


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for script in MIGRATIONS:
        for statement in statements_of(script):
            connection.execute(statement)
    return connection


def rows(number: int) -> list[tuple[object, ...]]:
    """Returns rows of ``SET`` that replace one another."""
    return [
        (n, "s", "v", "update", n - 1, 0.5, False, "t", b"", "int", 1, 1, 0.5, "", None) for n in range(1, number + 1)
    ]


@pytest.mark.parametrize("number", ROWS)
def test_one_statement_inserts_many_rows_as_many_statements_would(connection: sqlite3.Connection, number: int) -> None:
    connection.execute(of_rows(statements.SET, number), [value for row in rows(number) for value in row])
    assert connection.execute("SELECT revision, previous FROM changes ORDER BY revision").fetchall() == [
        (n, n - 1) for n in range(1, number + 1)
    ]
    # The trigger ran for each row, in order.
    assert connection.execute("SELECT revision FROM present").fetchall() == [(number,)]


def test_values_that_are_part_of_the_statement_are_those_of_each_row(connection: sqlite3.Connection) -> None:
    deleted = [(n, "s", "v", n - 1, 0.5, False) for n in (1, 2)]
    connection.execute(of_rows(statements.DELETE, 2), [value for row in deleted for value in row])
    assert connection.execute("SELECT operation FROM changes").fetchall() == [("delete",), ("delete",)]


@pytest.mark.parametrize("name", [name for name in vars(statements) if name.isupper()])
def test_each_insert_can_be_one_of_many_rows(connection: sqlite3.Connection, name: str) -> None:
    sql = getattr(statements, name)
    if isinstance(sql, str) and takes_rows(sql):
        many = of_rows(sql, max(ROWS))
        # SQLite by itself has as many parameters as this, whatever it was built with.
        assert many.count("?") == max(ROWS) * sql.count("?") <= 999
        connection.execute(f"EXPLAIN {many}", [None] * many.count("?"))
