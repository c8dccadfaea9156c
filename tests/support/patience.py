"""How long a test waits for what a working program does soon.

These bounds end a hang and do nothing else: a test that passes never comes near them, however busy the machine. A test
that has to see a time-out happen gives the code under test a short one of its own.
"""

import os

# How many times longer to wait on a machine that is slower still.
SCALE = float(os.environ.get("TEST_PATIENCE", "1"))

# Seconds for one step: an answer, an event, a process that starts or ends.
PATIENCE = 60.0 * SCALE

# Seconds for a whole test with its fixtures; then it fails, with the traceback of where it hangs.
TEST_LIMIT = 5 * PATIENCE
