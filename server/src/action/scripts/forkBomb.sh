#!/bin/sh
# Description: Forks without end, up to the limit on the target's processes, until it is ended
# Dependencies: sleep
# Experiment type: Resource
# Needs own: process limit
# Reach: host
# Health check: true
# Self healing: true

# Without a limit of the target's own, or of what it is part of, the bomb would take the whole host.
limited=
while IFS=: read -r _ controllers path; do
    case ,$controllers, in
        ,,) roots="/sys/fs/cgroup /sys/fs/cgroup/unified" ;;
        *,pids,*) roots=/sys/fs/cgroup/pids ;;
        *) continue ;;
    esac
    for root in $roots; do
        group=$path
        while :; do
            most=max
            { read -r most <"$root$group/pids.max"; } 2>/dev/null
            [ "$most" = max ] || limited=$most
            [ -z "$group" ] && break
            group=${group%/*}
        done
    done
done </proc/self/cgroup
if [ -z "$limited" ]; then
    echo "not here: nothing limits the target's processes (pids.max, TasksMax=, --pids-limit), so all of the host's would be used up" >&2
    exit 1
fi

# A shell that can not fork ends and makes room for another one's children: so there are always as many as there may be.
bomb() {
    while :; do
        bomb &
    done
}
bomb 2>/dev/null &
# This one needs no fork, and so stays.
exec sleep 100000000
