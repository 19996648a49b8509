#!/bin/sh
# Description: Fills the disk of the target's /var/tmp (else /tmp) to its last byte, until it is ended
# Dependencies: dd, rm, sleep
# Experiment type: Resource
# Needs own: disk
# Reach: host
# Health check: true
# Self healing: rm -f "/var/tmp/kitty-fillDisk.$KITTY_TARGET" "/tmp/kitty-fillDisk.$KITTY_TARGET"

for folder in /var/tmp /tmp; do
    file=$folder/kitty-fillDisk.$KITTY_TARGET
    if : 2>/dev/null >"$file"; then
        # What fallocate(1) reserves at once, dd writes where there is no such thing. Both end when the disk is full;
        # small blocks at the end take what large ones leave.
        command -v fallocate >/dev/null && command -v df >/dev/null && {
            free=$(df -P -k "$folder" | while read -r _ _ _ free _; do echo "$free"; done | tail -n 1)
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
    fi
done
echo "neither /var/tmp nor /tmp can be written" >&2
exit 1
