"""Traces and metrics by OpenTelemetry, for who asks for them; nothing else in the package imports it."""
