"""Python values as protobuf messages, and back."""
