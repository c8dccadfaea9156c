"""Watches a hub from a process of its own: how long its health check waits, and how much memory the hub holds.

Its arguments: the hub's address and its process id. For each line of its input it prints what it saw since the last
one, as JSON, and begins anew; it ends with its input.
"""

import json
import sys
import threading
import time

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

# Seconds between two health checks, two looks at the memory, and two at which processes the hub has started.
HEALTH_INTERVAL = 0.05
INTERVAL = 0.02
CHILDREN_INTERVAL = 0.2
# A health check that waits longer has failed.
DEADLINE = 20.0


class Watch:
    """What was seen of one hub."""

    def __init__(self, address: str, pid: int) -> None:
        self._lock = threading.Lock()
        self._hub = psutil.Process(pid)
        self._address = address
        self._processes = [self._hub]
        self._looked = -CHILDREN_INTERVAL
        self._forget()

    def _forget(self) -> None:
        self._waits: list[float] = []
        self._failures: list[str] = []
        self._peak = self._memory()

    def _memory(self) -> int:
        """Bytes that the hub and its children hold."""
        total = 0
        try:
            # To find them is to look at each process of the machine.
            if time.monotonic() - self._looked >= CHILDREN_INTERVAL:
                self._processes = [self._hub, *self._hub.children(recursive=True)]
                self._looked = time.monotonic()
            for process in self._processes:
                total += process.memory_info().rss
        except psutil.NoSuchProcess:
            self._looked = -CHILDREN_INTERVAL
        return total

    def ask(self) -> None:
        """Asks for health again and again."""
        with grpc.insecure_channel(self._address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                begun = time.monotonic()
                failure = ""
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
                    if answer.status != health_pb2.HealthCheckResponse.SERVING:
                        failure = f"health is {answer.status}"
                except grpc.RpcError as error:
                    failure = str(error)
                with self._lock:
                    self._waits.append(time.monotonic() - begun)
                    if failure:
                        self._failures.append(failure)
                time.sleep(HEALTH_INTERVAL)

    def sample(self) -> None:
        """Looks at the memory again and again."""
        while True:
            memory = self._memory()
            with self._lock:
                self._peak = max(self._peak, memory)
            time.sleep(INTERVAL)

    def report(self) -> dict[str, object]:
        """Tells what was seen since the last report."""
        with self._lock:
            seen = {"waits": self._waits, "failures": self._failures, "peak": self._peak, "memory": self._memory()}
            self._forget()
        return seen


def main(address: str, pid: str) -> None:
    watch = Watch(address, int(pid))
    for work in (watch.ask, watch.sample):
        threading.Thread(target=work, daemon=True).start()
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(watch.report()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
