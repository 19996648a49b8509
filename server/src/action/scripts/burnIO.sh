#!/bin/sh
# Description: Writes to the disk of the target's /var/tmp (else /tmp) and syncs, as fast as it goes, until it is ended
# Dependencies: dd, rm
# Experiment type: Resource
# Reach: host
# Health check: true
# Self healing: rm -f "/var/tmp/kitty-burnIO.$KITTY_TARGET" "/tmp/kitty-burnIO.$KITTY_TARGET"

megabytes=16
for folder in /var/tmp /tmp; do
    file=$folder/kitty-burnIO.$KITTY_TARGET
    if : 2>/dev/null >"$file"; then
        echo "writing $file"
        # The same blocks again and again: it takes the disk's time, not its room.
        while dd if=/dev/zero of="$file" bs=1048576 count=$megabytes conv=notrunc,fsync 2>/dev/null; do :; done
        echo "the disk takes no more: $file" >&2
        exit 1
    fi
done
echo "neither /var/tmp nor /tmp can be written" >&2
exit 1
