import asyncio
import random
from locust import task, between, events
from locust.contrib.fasthttp import FastHttpUser

class ToolBridgeLoadTest(FastHttpUser):
    """Load test for tool bridge."""

    wait_time = between(0.1, 0.5)

    def on_start(self):
        """Initialize session for user."""
        self.session_id = f"load_test_{random.randint(1000, 9999)}"
        self.tool_ids = ["search", "calculate", "process"]

        # Initialize session via gRPC
        # (In practice, might use HTTP gateway)
        response = self.client.post(
            "/api/sessions",
            json={"session_id": self.session_id}
        )
        response.raise_for_status()

    @task(weight=70)
    def execute_tool(self):
        """Execute a random tool."""
        tool_id = random.choice(self.tool_ids)

        with self.client.post(
            f"/api/sessions/{self.session_id}/tools/{tool_id}/execute",
            json={
                "args": [random.randint(1, 100)],
                "kwargs": {"option": random.choice(["A", "B", "C"])}
            },
            catch_response=True
        ) as response:
            if response.status_code == 200:
                response.success()
            else:
                response.failure(f"Got status {response.status_code}")

    @task(weight=20)
    def stream_tool(self):
        """Execute streaming tool."""
        with self.client.get(
            f"/api/sessions/{self.session_id}/tools/stream_data/stream",
            stream=True,
            catch_response=True
        ) as response:
            chunks = 0
            for chunk in response.iter_lines():
                chunks += 1
                if chunks > 100:  # Limit chunks in test
                    break

            if chunks > 0:
                response.success()
            else:
                response.failure("No chunks received")

    @task(weight=10)
    def batch_execute(self):
        """Execute batch of tools."""
        batch = [
            {
                "tool_id": random.choice(self.tool_ids),
                "args": [i],
                "kwargs": {}
            }
            for i in range(random.randint(5, 15))
        ]

        with self.client.post(
            f"/api/sessions/{self.session_id}/tools/batch",
            json={"requests": batch},
            catch_response=True
        ) as response:
            if response.status_code == 200:
                results = response.json()["results"]
                if len(results) == len(batch):
                    response.success()
                else:
                    response.failure("Incomplete batch results")
            else:
                response.failure(f"Got status {response.status_code}")
