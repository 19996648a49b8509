#!/bin/sh
# Description: Burns all processors that the target may use, until it is ended
# Dependencies: nproc
# Experiment type: Resource
# Health check: true
# Self healing: true

# One busy loop for each processor allowed. All of them end with this script, whichever way it ends.
burners=
trap 'kill $burners 2>/dev/null; exit 0' TERM INT HUP
trap 'kill $burners 2>/dev/null' EXIT
count=$(nproc)
while [ "$count" -gt 0 ]; do
    while :; do :; done &
    burners="$burners $!"
    count=$((count - 1))
done
wait
