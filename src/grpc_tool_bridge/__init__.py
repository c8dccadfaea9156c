"""Tools in other processes, languages and machines, as ordinary awaitable functions."""
