#!/bin/sh
# Description: Writes to the disk of the target's /var/tmp (else /tmp) and syncs, as fast as it goes, until it is ended
# Dependencies: dd
# Experiment type: Resource
# Reach: host
# Health check: true
# Self healing: true

[ -n "$KITTY_TMP" ] || { echo "no folder can be made in /var/tmp, /tmp or /, or the agent is too old to make one" >&2; exit 1; }
megabytes=16
file=$KITTY_TMP/zeros
echo "writing $file"
# The same blocks again and again: it takes the disk's time, not its room.
while dd if=/dev/zero of="$file" bs=1048576 count=$megabytes conv=notrunc,fsync 2>/dev/null; do :; done
echo "the disk takes no more: $file" >&2
exit 1
