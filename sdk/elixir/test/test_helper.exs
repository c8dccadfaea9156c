{:ok, _} = ToolBridge.TestHub.start()
ExUnit.start(assert_receive_timeout: 10_000, capture_log: true)
