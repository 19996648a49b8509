#!/bin/sh
# Description: Takes nine tenths of the memory that the target's limit, or the host, leaves, until it is ended
# Dependencies: head, tr, sleep
# Experiment type: Resource
# Needs own: memory limit
# Reach: host
# Health check: true
# Self healing: true

# What is left below one limit, in kB; nothing where there is none. $1: limit, $2: usage.
headroom() {
    limit=
    used=
    { read -r limit <"$1" && read -r used <"$2"; } 2>/dev/null || return
    case $limit in
        max | ???????????????????*) return ;; # version 1 says "no limit" with a number of 19 digits
    esac
    echo $(((limit - used) / 1024))
}

left=0
while read -r name value _; do
    [ "$name" = MemAvailable: ] && left=$value
done </proc/meminfo

# Version 2, then version 1; as they are mounted on hosts, and in containers, where the own group is the root.
while IFS=: read -r _ controllers path; do
    case ,$controllers, in
        ,,) roots="/sys/fs/cgroup /sys/fs/cgroup/unified" limit=memory.max usage=memory.current ;;
        *,memory,*) roots=/sys/fs/cgroup/memory limit=memory.limit_in_bytes usage=memory.usage_in_bytes ;;
        *) continue ;;
    esac
    for root in $roots; do
        group=$path
        while :; do
            room=$(headroom "$root$group/$limit" "$root$group/$usage")
            [ -n "$room" ] && [ "$room" -lt "$left" ] && left=$room
            [ -z "$group" ] && break
            group=${group%/*}
        done
    done
done </proc/self/cgroup

wanted=$((left * 9 / 10 / 1024))
block=$(head -c 1048576 /dev/zero | tr '\0' x)
count=0
while [ "$count" -lt "$wanted" ]; do
    eval "held_$count=\$block"
    count=$((count + 1))
done
echo "holding $count MiB"
while :; do
    sleep 3600
done
