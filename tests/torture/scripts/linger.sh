#!/bin/sh
# Description: Leaves processes behind, one of them in a session of its own, and waits
# Dependencies: sleep, setsid
# Experiment type: Resource
# Health check: true
# Self healing: true

# They cost nothing: dozens of cells run this side by side.
sleep 900 &
setsid sleep 900 &
wait
