#!/bin/sh
# Description: Forks without end, up to the limit on the target's processes, until it is ended
# Dependencies: sleep
# Experiment type: Resource
# Health check: true
# Self healing: true

# A shell that can not fork ends and makes room for another one's children: so there are always as many as there may be.
bomb() {
    while :; do
        bomb &
    done
}
bomb 2>/dev/null &
# This one needs no fork, and so stays.
exec sleep 100000000
