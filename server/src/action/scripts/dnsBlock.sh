#!/bin/sh
# Description: Keeps the target from asking name servers on other hosts (port 53, UDP and TCP), until it is ended
# Dependencies: ip, grep, sleep
# Experiment type: Network
# Health check: ! ip rule show | grep -q '^53:'
# Self healing: for family in -4 -6; do while ip $family rule del pref 53 2>/dev/null; do :; done; done; true

# Rules by port (Linux 4.17) need no packet filter, and touch nothing that the target has set up.
block() {
    ip "$1" rule add pref 53 ipproto udp dport 53 blackhole && ip "$1" rule add pref 53 ipproto tcp dport 53 blackhole
}
block -4 || exit 1
block -6 2>/dev/null || echo "IPv6 is not there"
echo "port 53 leads nowhere"
while :; do
    sleep 3600
done
