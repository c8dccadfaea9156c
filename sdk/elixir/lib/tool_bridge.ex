defmodule ToolBridge do
  @moduledoc """
  Calls the tools of other programs, and offers this one's, over a hub of the gRPC tool bridge.

    * `ToolBridge.Client` - a session: calls, streams, batches
    * `ToolBridge.Variables`, `ToolBridge.Agents` - the session's variables, and agents
    * `ToolBridge.Worker`, `ToolBridge.Tools` - offers the functions of modules as tools
    * `ToolBridge.Context`, `ToolBridge.Question` - what a tool knows of its call, and asks its caller
    * `ToolBridge.Hub` - a hub as a part of this application
    * `ToolBridge.Error` - the one error of all of these
  """
end
