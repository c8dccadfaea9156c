"""The kinds of events of WatchEvents; also the field names of an AdminEvent's subjects."""

EVENT_KINDS = ("call", "worker", "session", "log")
