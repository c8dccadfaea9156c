# `mix test --only unit` needs no hub, and so no Python.
ExUnit.start(assert_receive_timeout: 10_000, capture_log: true)
