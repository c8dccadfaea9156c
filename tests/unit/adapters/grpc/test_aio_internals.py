"""What the public interface of grpc.aio lacks."""

from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_tool_bridge.adapters.grpc.aio_internals import keep_status
from support.grpc_services.serving import serving
from support.waiting import soon


async def test_a_request_that_cannot_be_sent_does_not_hide_the_status_of_the_service() -> None:
    async with serving() as address, grpc.aio.insecure_channel(address) as channel:
        method: Any = channel.stream_stream("/none.S/Do")
        call = method()
        keep_status(call)
        # As grpc.aio does where the service has ended the call at the moment in which a request is sent.
        call._cython_call.set_internal_error("cannot be sent")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await soon(call.read())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_another_call_is_left_as_it_is() -> None:
    keep_status(object())
