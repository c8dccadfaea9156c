"""Checks a peer at a real hub: as a client, then as a worker."""

import asyncio
from collections.abc import Mapping

from conformance.checks import FAILED, PASSED, UNSUPPORTED, Outcome, Peer
from conformance.client_checks import CLIENT_CHECKS, Check
from conformance.peer_process import PeerFailedError
from conformance.stage import PATIENCE, Stage, UnsupportedError
from conformance.worker_checks import WORKER_CHECKS

HUB = "hub"

# A check asks the peer for more than one thing.
_CHECK_SECONDS = 3 * PATIENCE


def check_hub(peer: Peer, name: str = "") -> list[Outcome]:
    """Checks a peer at a hub of this process.

    Args:
        peer: The peer.
        name: Only checks whose name contains it, and the first of their group; empty for all.
    """
    return asyncio.run(_check_all(peer, name))


async def _check_all(peer: Peer, name: str) -> list[Outcome]:
    async with Stage(peer) as stage:
        client = await _check_group(stage, "client", CLIENT_CHECKS, name)
        return client + await _check_group(stage, "worker", WORKER_CHECKS, name)


async def _check_group(stage: Stage, action: str, checks: Mapping[str, Check], name: str) -> list[Outcome]:
    first, *others = checks
    chosen = [each for each in others if name in each]
    if not chosen and name not in first:
        return []
    begun = await _check(stage, action, first, checks[first])
    if begun.outcome == PASSED:
        return [begun, *[await _check(stage, action, each, checks[each]) for each in chosen]]
    # The others need what the first does.
    detail = f"{begun.name}: {begun.detail}"
    return [begun, *[Outcome(HUB, action, each, begun.outcome, detail=detail) for each in chosen]]


async def _check(stage: Stage, action: str, name: str, check: Check) -> Outcome:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check(stage)
    except UnsupportedError:
        return Outcome(HUB, action, name, UNSUPPORTED)
    except PeerFailedError:
        raise
    except Exception as failure:  # noqa: BLE001 - whatever a peer makes of a check, the next one is still made
        return Outcome(HUB, action, name, FAILED, detail=str(failure) or type(failure).__name__)
    return Outcome(HUB, action, name, PASSED)
