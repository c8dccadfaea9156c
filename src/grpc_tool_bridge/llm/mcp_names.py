"""Names that MCP itself does not have: the gateway writes them, and an import of MCP tools reads them."""

# The key of an error's facts in ``_meta`` of a result.
ERROR_META = "grpc-tool-bridge/error"

# The key of the id of the call, as in the hub's log, in ``_meta`` of a result that is an error.
REQUEST_META = "grpc-tool-bridge/request_id"

# Among the patterns that choose tools: the search alone.
SEARCH_ALONE = "search"

# The key of a tool's tags in its ``_meta``.
TAGS_META = "grpc-tool-bridge/tags"

# The key of a tool's annotations in its ``_meta`` over gRPC, whose messages cannot say that a hint is false.
ANNOTATIONS_META = "grpc-tool-bridge/annotations"

# Keys of the metadata of a tool's spec: its title, and its annotations as JSON.
TITLE_KEY = "mcp.title"
ANNOTATIONS_KEY = "mcp.annotations"

# The only property of a structured content that holds a value which is no object, and the key by which an output schema
# says so; FastMCP's words for them.
RESULT = "result"
WRAPPED = "x-fastmcp-wrap-result"
