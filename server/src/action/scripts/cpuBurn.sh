#!/bin/sh
# Description: Burns all processors that the target may use, until it is ended
# Dependencies: nproc
# Experiment type: Resource
# Health check: true
# Self healing: true

# One busy loop for each processor allowed. The one that waits for them is ended with them.
count=$(nproc)
while [ "$count" -gt 0 ]; do
    while :; do :; done &
    count=$((count - 1))
done
wait
