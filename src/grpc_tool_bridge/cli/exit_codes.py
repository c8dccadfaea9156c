"""The exit codes of the program."""

FAILED = 1
BAD_ARGUMENT = 2
# What shells give a program that a signal or a closed pipe ends: 128 and the signal's number.
INTERRUPTED = 130
PIPE_CLOSED = 141
