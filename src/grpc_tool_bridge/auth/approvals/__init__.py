"""Approvals: calls that wait until somebody with the right says yes to exactly their arguments."""
