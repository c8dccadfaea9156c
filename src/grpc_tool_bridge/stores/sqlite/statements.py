"""The statements that write an SQLite store.

Numbers beside a statement are the places of its parameters that are read again after a commit.
"""

from functools import cache

# Shows whether the store can be written; with another value each time, since SQLite writes no page that stays the same.
TRY = "INSERT OR REPLACE INTO facts VALUES ('tried', ?)"
RESERVE = "INSERT OR REPLACE INTO facts VALUES ('revision', ?)"
CREATE_SESSION = "INSERT OR REPLACE INTO sessions (session_id, created_at, request, access) VALUES (?, ?, ?, ?)"
SET_ACCESS = "UPDATE sessions SET access = ? WHERE session_id = ?"
# A trigger removes the session. What belongs to it is removed later, in slices.
END_SESSION = "INSERT OR REPLACE INTO ended_sessions (session_id, why, ended_at) VALUES (?, ?, ?)"
ENDED_SESSION = 0
SET = (
    "INSERT INTO changes (revision, session_id, name, operation, previous, at, secret, type_url, value, "
    "type, size, held, created_at, created_by, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
SET_SESSION, SET_SIZE = 1, 10
DELETE = (
    "INSERT INTO changes (revision, session_id, name, operation, previous, at, secret) "
    "VALUES (?, ?, ?, 'delete', ?, ?, ?)"
)
DELETE_SESSION = 1
HIDE = "UPDATE changes SET secret = 1 WHERE session_id = ? AND name = ?"
KEEP_ANSWER = "UPDATE calls SET answer = ?, ends_at = ? WHERE session_id = ? AND key = ?"
ANSWER, ANSWER_ENDS_AT, ANSWER_SESSION = 0, 1, 2
# A call whose answer could not be kept: what became of it is not known.
GIVE_UP_CALL = "UPDATE calls SET ends_at = ? WHERE session_id = ? AND key = ? AND answer IS NULL"
GIVEN_UP_ENDS_AT = 0
FREE_CALL = "DELETE FROM calls WHERE session_id = ? AND key = ? AND answer IS NULL"
# What a session or a run gets while its end is on its way belongs to nothing.
ADD_AGENT = (
    "INSERT OR IGNORE INTO agents (session_id, agent_id, definition) SELECT ?1, ?2, ?3 "
    "WHERE EXISTS (SELECT 1 FROM sessions WHERE session_id = ?1)"
)
BEGIN_RUN = (
    "INSERT INTO runs (session_id, run_id, agent_id, digest, started_at) SELECT ?1, ?2, ?3, ?4, ?5 "
    "WHERE EXISTS (SELECT 1 FROM sessions WHERE session_id = ?1)"
)
ADD_CHUNK = (
    "INSERT INTO chunks (session_id, run_id, sequence, is_last, data) SELECT ?1, ?2, ?3, ?4, ?5 "
    "WHERE EXISTS (SELECT 1 FROM runs WHERE session_id = ?1 AND run_id = ?2)"
)
DROP_CHUNKS = "DELETE FROM chunks WHERE session_id = ? AND run_id = ? AND sequence < ?"

# What belongs to a session, and what its rows are known by and hold, besides a few bytes.
OF_SESSION = {
    "changes": ("revision", "size"),
    "calls": ("number", "length(answer)"),
    "agents": ("number", "length(definition)"),
    "runs": ("number", "0"),
    "chunks": ("number", "length(data)"),
}

# Rows that one statement inserts, the most first: each statement gives the interpreter away and takes it back, which
# costs more than a row.
ROWS = (64, 16, 4)


@cache
def takes_rows(sql: str) -> bool:
    """Returns whether a statement inserts a row, and could insert many."""
    return sql.startswith("INSERT") and " VALUES (" in sql


@cache
def of_rows(insert: str, rows: int) -> str:
    """Returns the statement that inserts so many rows at once, in order, instead of one."""
    head, values, row = insert.partition(" VALUES ")
    return head + values + ", ".join([row] * rows)
