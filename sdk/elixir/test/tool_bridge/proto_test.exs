defmodule ToolBridge.ProtoTest do
  # The vectors of conformance, and its property against Python's protobuf, have the rest.
  use ExUnit.Case, async: true

  @moduletag :unit

  alias ToolBridge.Error
  alias ToolBridge.Proto.{ExecutionMetrics, LinkEvent, Progress, RichValue, Tensor, ToolCallRequest, ToolSpec}
  alias ToolBridge.Proto.Google.{Any, FloatValue}

  @root Path.expand("../../../..", __DIR__)

  @tag unit: false
  test "the table of messages is not stale" do
    python = System.get_env("TOOL_BRIDGE_PYTHON", Path.join(@root, ".venv/bin/python"))
    script = Path.join(@root, "scripts/generate_elixir_proto.py")
    assert {_, 0} = System.cmd(python, [script, "--check"], stderr_to_stdout: true)
  end

  test "fields have the defaults of proto3" do
    assert %ToolSpec{name: "", type: :STANDARD, arguments: [], metadata: %{}, limits: nil, idempotent: false} =
             %ToolSpec{}

    assert ToolCallRequest.encode(%ToolCallRequest{}) == ""
    assert ToolCallRequest.decode("") == {:ok, %ToolCallRequest{}}
  end

  test "messages come back as they were" do
    for message <- [
          %ToolCallRequest{session_id: "s", args: [%Any{type_url: "t", value: <<255>>}], kwargs: %{"k" => %Any{}}},
          %ToolSpec{type: 7, examples: ["a", ""]},
          %Tensor{shape: [1, -1, 300], data: <<0>>},
          %LinkEvent{kind: {:progress, %Progress{current: -0.0, total: :infinity}}},
          %ExecutionMetrics{duration_ms: -1, custom_metrics: %{"a" => 0.5}},
          %FloatValue{value: 0.5},
          %RichValue{kind: {:integer, -0x8000000000000000}}
        ] do
      module = message.__struct__
      assert message |> module.encode() |> module.decode() == {:ok, message}
    end
  end

  test "a message that comes twice is merged, and the last scalar counts" do
    twice =
      LinkEvent.encode(%LinkEvent{kind: {:progress, %Progress{current: 1.0, message: "a"}}}) <>
        LinkEvent.encode(%LinkEvent{kind: {:progress, %Progress{current: 2.0}}})

    assert {:ok, %{kind: {:progress, %{current: 2.0, message: "a"}}}} = LinkEvent.decode(twice)
  end

  test "malformed bytes are an error" do
    for bytes <- [<<10>>, <<10, 5, 1>>, <<0>>, <<255>>, <<10, 1, 255>>, :binary.copy(<<255>>, 11), <<14>>] do
      assert {:error, %Error{type: "SerializationError", message: "malformed dspex.bridge.ToolCallRequest" <> _}} =
               ToolCallRequest.decode(bytes)
    end
  end
end
