#!/bin/sh
# Description: Fills the disk of the target's /var/tmp (else /tmp) to its last byte, until it is ended
# Dependencies: dd, sleep
# Experiment type: Resource
# Needs own: disk
# Reach: host
# Health check: true
# Self healing: true

[ -n "$KITTY_TMP" ] || { echo "no folder can be made in /var/tmp, /tmp or /, or the agent is too old to make one" >&2; exit 1; }
file=$KITTY_TMP/zeros
# What fallocate(1) reserves at once, dd writes where there is no such thing. Both end when the disk is full;
# small blocks at the end take what large ones leave.
command -v fallocate >/dev/null && command -v df >/dev/null && {
    free=$(df -P -k "$KITTY_TMP" | while read -r _ _ _ free _; do echo "$free"; done | tail -n 1)
    fallocate -l "$((free > 1024 ? free - 1024 : 1))k" "$file" 2>/dev/null
}
for block in 1048576 4096 512; do
    dd if=/dev/zero bs=$block 2>/dev/null >>"$file"
done
echo "filled $file"
# Whatever others remove meanwhile is filled again.
while sleep 1; do
    dd if=/dev/zero bs=4096 2>/dev/null >>"$file"
done
