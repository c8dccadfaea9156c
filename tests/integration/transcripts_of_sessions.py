"""Sessions, and the end of a hub."""

import asyncio

from grpc_tool_bridge import SessionConfig
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.transcript_scenarios import Gate, add, broken_off, refused, scenario
from integration.transcript_stage import Stage
from support.waiting import soon


@scenario()
async def session_with_defaults(stage: Stage) -> None:
    await stage.hub(add)
    bridge = await stage.client()
    await bridge.initialize()
    await bridge.close()


@scenario()
async def session_with_config_that_two_share(stage: Stage) -> None:
    await stage.hub()
    config = SessionConfig(max_concurrent_tools=3, default_timeout_ms=1_500, enable_caching=True)
    first, second = await stage.client(keep_session=True), await stage.client("second")
    await first.initialize("shared", metadata={"user": "ann", "team": "a"}, config=config)
    await second.initialize("shared", metadata={"user": "bob"})
    await second.client.session_info()
    await first.close()
    await second.close()


@scenario()
async def session_that_is_refused(stage: Stage) -> None:
    await stage.hub(max_sessions=1)
    bridge, other = await stage.client(), await stage.client("other")
    await bridge.initialize("only")
    await refused(other.initialize("one too many"))
    await bridge.close()
    await other.close()


@scenario()
async def heartbeats_health_and_metrics(stage: Stage) -> None:
    bridge = await stage.play(add)
    await bridge.client.heartbeat()
    await bridge.client.call("Heartbeat", pb.HeartbeatRequest(session_id="unknown"))
    await bridge.client.health_check()
    await bridge.client.get_metrics("hub.epoch", "hub.active_calls", "nothing.*")


@scenario()
async def calls_without_a_session(stage: Stage) -> None:
    bridge = await stage.play(add)
    await bridge.client.cleanup_session()
    await refused(bridge.tools["add"](1))
    await refused(bridge.client.session_info())
    await refused(bridge.client.cleanup_session())
    await refused(bridge.client.call("GetSessionInfo", pb.GetSessionInfoRequest(session_id="unknown")))
    await refused(bridge.client.call("GetSessionTools", pb.GetSessionToolsRequest()))


@scenario()
async def session_that_ends_while_a_call_runs(stage: Stage) -> None:
    gate = Gate()
    bridge = await stage.play(gate.wait)
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    await bridge.client.cleanup_session(force=True)
    await refused(call)


@scenario()
async def session_that_ends_after_the_call_that_runs(stage: Stage) -> None:
    gate = Gate()
    bridge = await stage.play(gate.wait)
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    ending = asyncio.create_task(bridge.client.cleanup_session())
    await stage.seen("CleanupSession")
    gate.opened.set()
    await soon(asyncio.gather(call, ending))


@scenario()
async def hub_that_drains(stage: Stage) -> None:
    gate = Gate()
    await stage.hub(gate.wait)
    bridge = await stage.client()
    await bridge.initialize("the-session")
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    # The client dials again until the hub is gone, as often as it gets to.
    stage.take_no_more()
    ending = asyncio.create_task(stage.server.stop(60))
    if stage.transport == "link":
        await stage.said("Link", "drain")
    gate.opened.set()
    await soon(asyncio.gather(call, ending))


# Over a link gRPC may drop the answer: the status that ends the link overtakes what is not read yet.
@scenario("rpc")
async def hub_that_stops_at_once(stage: Stage) -> None:
    gate = Gate()
    await stage.hub(gate.wait)
    bridge = await stage.client()
    await bridge.initialize("the-session")
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    stage.take_no_more()
    await soon(stage.server.stop(0))
    await refused(call)


@scenario()
async def token_that_is_right_wrong_or_missing(stage: Stage) -> None:
    await stage.hub(add, token="s3cret-of-the-hub")
    for name, token in (("knows", "s3cret-of-the-hub"), ("guesses", "s3cret-of-another"), ("forgets", None)):
        bridge = await stage.client(name, token=token)
        if name == "knows":
            await bridge.initialize("the-session")
            await bridge.close()
        else:
            await refused(bridge.initialize("the-session"))


@scenario("link")
async def link_that_is_lost(stage: Stage) -> None:
    gate = Gate()
    bridge = await stage.play(gate.wait, add)
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    stage.cut("client")
    await refused(call)
    # Waits for the next link, over which the session is taken up again first.
    await soon(bridge.tools["add"](1))
    gate.opened.set()
    await bridge.close()


@scenario()
async def call_that_its_caller_cancels(stage: Stage) -> None:
    gate = Gate()
    bridge = await stage.play(gate.wait)
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    await broken_off(call)
