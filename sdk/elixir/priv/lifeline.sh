#!/bin/sh
# Runs a command, and ends it when stdin has a line or is closed: nothing outlives the VM that started it, however that
# ended.
#
# usage: lifeline.sh SECONDS COMMAND...    SECONDS from SIGTERM to SIGKILL
grace=$1
shift
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
(
  read -r _ <&3
  kill -TERM "$child"
  while [ "$grace" -gt 0 ] && kill -0 "$child"; do
    sleep 1
    grace=$((grace - 1))
  done
  kill -KILL "$child"
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$child" 2>/dev/null
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
