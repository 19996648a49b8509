#!/bin/sh
# Description: Sends everything that leaves the target for other hosts into a black hole, until it is ended
# Dependencies: ip, grep, sleep
# Experiment type: Network
# Health check: ! ip rule show | grep -q '^37:'
# Self healing: for family in -4 -6; do while ip $family rule del pref 37 2>/dev/null; do :; done; done; true

# A rule of its own before those of the main table, so that no route of the target is touched. What is local comes
# before it. A kernel without IPv6 has nothing to block there.
ip -4 rule add pref 37 blackhole || exit 1
ip -6 rule add pref 37 blackhole 2>/dev/null || echo "IPv6 is not there"
echo "every route leads nowhere"
while :; do
    sleep 3600
done
