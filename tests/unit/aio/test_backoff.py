"""How long to wait before something is tried again."""

from itertools import islice

from grpc_tool_bridge.aio.backoff import back_off


def test_the_waits_double_up_to_five_seconds_and_are_shortened_at_random() -> None:
    for wait, longest in zip(islice(back_off(), 8), (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0), strict=True):
        assert longest / 2 <= wait <= longest
