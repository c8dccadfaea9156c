defmodule ToolBridge.ReadmeTest do
  use ExUnit.Case, async: true

  @readme Path.expand("../../README.md", __DIR__)

  @demo Path.expand("../../../../examples/elixir/demo.exs", __DIR__)

  test "the demo runs" do
    output = ExUnit.CaptureIO.capture_io(fn -> Code.eval_file(@demo) end)
    assert output =~ "tool bridge\none\nafter\nanother\n"
    assert output =~ "turn_round: ValidationError: "
  end

  test "the README's examples run as they say" do
    blocks = Regex.scan(~r/(<!-- not run -->\n)?```elixir\n(.*?)```/s, File.read!(@readme), capture: :all_but_first)
    run = for ["", code] <- blocks, do: String.replace(code, "127.0.0.1:50051", ToolBridge.TestHub.address())
    assert length(run) >= 6
    {_, binding} = Code.eval_string(Enum.join(run, "\n"), [], __ENV__)
    for name <- [:worker, :taxes, :deleter], do: Supervisor.stop(binding[name])
  end
end
