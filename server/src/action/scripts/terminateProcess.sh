#!/bin/sh
# Description: Ends the target's main process: asks it to (TERM), and kills it when it has not ended within 5 s
# Dependencies: sleep
# Experiment type: State
# Side: agent

# From outside: in a PID namespace of its own it is PID 1, which signals from inside do not end.
[ -n "$KITTY_TARGET_PID" ] || { echo "the target has no main process" >&2; exit 1; }
# One that has ended and that nobody has waited for is there still, as a zombie.
lives() {
    read -r stat 2>/dev/null <"/proc/$KITTY_TARGET_PID/stat" || return 1
    case ${stat##*) } in Z* | X*) return 1 ;; esac
}
kill -TERM "$KITTY_TARGET_PID" || exit 1
waited=0
while lives; do
    if [ "$waited" -eq 50 ]; then
        echo "it did not end in time: KILL" >&2
        kill -KILL "$KITTY_TARGET_PID"
    fi
    waited=$((waited + 1))
    sleep 0.1 2>/dev/null || sleep 1
done
