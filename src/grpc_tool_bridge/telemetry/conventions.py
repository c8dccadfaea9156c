"""The names of attributes, by the semantic conventions of OpenTelemetry.

Those of rpc are of version 1.43.0 (release candidate); those of gen_ai and mcp are of version 0.1.0 of
semantic-conventions-genai (development). What no convention names begins with ``tool_bridge.``.
"""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.43.0"

ERROR_TYPE = "error.type"

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
SERVER_ADDRESS = "server.address"

OPERATION = "gen_ai.operation.name"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
AGENT_ID = "gen_ai.agent.id"
CONVERSATION = "gen_ai.conversation.id"
PROVIDER = "gen_ai.provider.name"
MODEL = "gen_ai.request.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"

SESSION = "tool_bridge.session.id"
REQUEST = "tool_bridge.request.id"
WORKER = "tool_bridge.worker.id"
RUN = "tool_bridge.run.id"
STEP = "tool_bridge.step"
EXECUTOR = "tool_bridge.executor"
