"""A process that offers tools."""
