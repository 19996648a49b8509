#!/bin/sh
# Description: Lets reads of /dev/random wait, in a target with mounts of its own, until it is ended
# Dependencies: mkfifo, mount, umount, grep, rm, sleep
# Experiment type: Resource
# Needs own: mounts
# Health check: ! grep -q ' /dev/random ' /proc/self/mounts
# Self healing: while grep -q ' /dev/random ' /proc/self/mounts; do umount -l /dev/random || exit 1; done

# Since Linux 5.6 the kernel's generator does not run dry, so a pipe that nobody writes to takes its place.
case " $KITTY_NAMESPACES " in
    *" mnt "*) ;;
    *)
        echo "no effect here: since Linux 5.6 /dev/random never waits, and the target has no mounts of its own" >&2
        exit 1
        ;;
esac
# A mount that is shared would appear on the host too.
shared=
while read -r _ _ _ _ point _ options _; do
    case $point in
        / | /dev | /dev/random) case $options in shared:*) shared=$point ;; *) shared= ;; esac ;;
    esac
done </proc/self/mountinfo
if [ -n "$shared" ]; then
    echo "no effect here: the target shares its mounts below $shared with others" >&2
    exit 1
fi
[ -n "$KITTY_TMP" ] || { echo "no folder can be made in /var/tmp, /tmp or /, or the agent is too old to make one" >&2; exit 1; }
pipe=$KITTY_TMP/random
mkfifo -m 666 "$pipe" && mount --bind "$pipe" /dev/random || exit 1
# The mount keeps it. Open for writing here, so that whoever opens it gets in, and waits for the first byte.
exec 3<>"$pipe"
rm -f "$pipe"
echo "/dev/random waits"
while :; do
    sleep 3600
done
