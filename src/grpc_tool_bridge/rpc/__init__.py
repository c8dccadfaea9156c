"""What every transport shares: the methods, the defaults of a session, the wire format, the bounds of requests."""
