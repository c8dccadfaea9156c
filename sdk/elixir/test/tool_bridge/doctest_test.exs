defmodule ToolBridge.DoctestTest do
  use ExUnit.Case, async: true

  doctest ToolBridge.Agents
  doctest ToolBridge.Client
  doctest ToolBridge.Error
  doctest ToolBridge.Proto
  doctest ToolBridge.SessionStore
  doctest ToolBridge.Tool
  doctest ToolBridge.Tools
  doctest ToolBridge.Value
  doctest ToolBridge.Value.Duration
  doctest ToolBridge.Value.OrderedMap
  doctest ToolBridge.Variables
end
