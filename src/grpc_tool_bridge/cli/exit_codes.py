"""The exit codes of the program."""

FAILED = 1
BAD_ARGUMENT = 2
# As shells report a program ended by a signal or a closed pipe: 128 plus the signal's number.
INTERRUPTED = 130
PIPE_CLOSED = 141
