"""What a service may tell of itself at most."""

from grpc_tool_bridge.adapters.grpc.bounds import Bounds, one_line


def test_the_limits_are_those_of_the_docs() -> None:
    bounds = Bounds()
    assert (bounds.descriptor_bytes, bounds.files, bounds.services, bounds.methods) == (
        16 * 2**20,
        5_000,
        5_000,
        10_000,
    )
    assert (bounds.tool_bytes, bounds.start_seconds, bounds.import_seconds) == (64 * 2**20, 20.0, 60.0)


def test_a_foreign_text_is_one_line() -> None:
    assert one_line(" a\n\tb\x1b[31m\u2028c\x85d ", 100) == "a b[31m c d"
    assert one_line("x" * 10, 4) == "xxxx…"
