defmodule ToolBridge.Connection.PaceTest do
  use ExUnit.Case, async: true

  @moduletag :unit

  alias ToolBridge.Connection.Pace

  test "a call alone does not wait" do
    refute Pace.hold?(Pace.queued(%Pace{}), 1)
    refute Pace.hold?(Pace.queued(%Pace{}), 1_000)
  end

  test "a call waits for those that may follow what was just delivered" do
    pace = %Pace{} |> Pace.delivered() |> Pace.delivered() |> Pace.queued()
    assert Pace.hold?(pace, 2)
    refute pace |> Pace.queued() |> Pace.hold?(2)
  end

  test "nothing waits for long" do
    old = System.monotonic_time(:microsecond) - 1_000
    refute Pace.hold?(%Pace{queued: 1, expected: 5, since: old, delivered_at: old}, 100)
    refute Pace.hold?(%Pace{queued: 1, last: 50, since: old}, 100)
  end

  test "what was delivered long ago is followed by nothing" do
    now = System.monotonic_time(:microsecond)
    refute Pace.hold?(%Pace{queued: 1, expected: 5, since: now, delivered_at: now - 1_000}, 3)
  end

  test "while frames are large, they stay so" do
    pace = Enum.reduce(1..20, %Pace{}, fn _, pace -> Pace.queued(pace) end) |> Pace.sent() |> Pace.queued()
    assert Pace.hold?(pace, 100)
    refute Pace.hold?(pace, 4)
  end

  test "nothing to send is not held" do
    refute Pace.hold?(Pace.delivered(%Pace{}), 100)
    assert Pace.sent(%Pace{}) == %Pace{}
  end
end
