"""What a Python worker can do to itself. Each action injects, says that it did, holds until its `Hold` is over,
puts things back, and answers with figures."""

import ctypes
import gc
import mmap
import os
import random
import signal
import threading
import time

from google.protobuf.duration_pb2 import Duration

from chaoskitty.v1 import action_pb2

Reason = action_pb2.EndReason
Result = action_pb2.ActionResult
PREPARE = 10.0
STEP = 0.05
RESERVE = 64 << 20


def boot_time():
    """Seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def duration(seconds):
    whole = int(seconds * 1e9)
    return Duration(seconds=whole // 10**9, nanos=whole % 10**9)


class Refused(Exception):
    """An order that is not carried out, with the problem's number."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code

    def problem(self):
        return action_pb2.Problem(code=self.code, message=str(self))


class Injected(Exception):
    """The error of a guarded call that a fault made fail."""


class Hold:
    """How long a fault goes on."""

    def __init__(self, lease):
        self.lease, self.deadline, self.reason = lease, boot_time() + PREPARE, None
        self.woken, self.acknowledged = threading.Event(), threading.Event()

    def begin(self, length):
        self.deadline = boot_time() + length

    def stop(self, reason):
        self.reason = self.reason or reason
        self.woken.set()

    def ended(self):
        now = boot_time()
        if self.reason:
            return self.reason
        if now >= self.deadline:
            return Reason.DEADLINE
        return Reason.LEASE if now >= self.lease.until else None

    def remaining(self):
        return max(0.0, min(self.deadline, self.lease.until) - boot_time())

    def wait(self, most=float("inf")):
        """Blocks until it is over, or for so long."""
        until = boot_time() + most
        while not self.ended() and boot_time() < until:
            self.woken.wait(min(STEP, self.remaining(), until - boot_time()))


class Points:
    """The guarded points of an application."""

    def __init__(self):
        self.faults = ()

    def guard(self, point):
        for fault in self.faults:
            fault(point)

    def hold(self, fault, hold):
        self.faults += (fault,)
        try:
            hold.wait()
        finally:
            self.faults = tuple(other for other in self.faults if other is not fault)


def parse(action, worker):
    """The action's body, a function of (hold, started), and the resource that it takes hold of."""
    kind = action.WhichOneof("kind")
    held = kind in ("delay", "memory", "cpu", "error")
    length = action.duration.seconds + action.duration.nanos / 1e9
    if held and length <= 0:
        raise Refused(63001, "action.duration: must be above zero")
    if not held and action.HasField("duration"):
        raise Refused(63001, "action.duration: kill and gc hold nothing and take none")
    if kind == "delay":
        return delay(action.delay, length, worker), "run state"
    if kind == "kill":
        return kill(action.kill), None
    if kind == "memory":
        return memory(action.memory.size_bytes, length), "memory"
    if kind == "cpu":
        return cpu(action.cpu, length), "cpu"
    if kind == "gc":
        return collect, None
    if kind == "error":
        return error(action.error, length, worker.points), "error"
    raise Refused(63002, f"a Python worker can not do {kind}")


def delay(wanted, length, worker):
    requests = wanted.mode == action_pb2.Delay.REQUESTS
    each = wanted.per_request.seconds + wanted.per_request.nanos / 1e9 if wanted.HasField("per_request") else length
    means = "executor" if worker.loop and not requests else "requests"

    def body(hold, started):
        calls, began = [], boot_time()

        def result():
            return Result(delay=action_pb2.DelayResult(
                held=duration(boot_time() - began), requests=len(calls), means=means))

        def fault(_point):
            calls.append(1)
            hold.wait(each if requests else float("inf"))

        if means == "requests":
            hold.begin(length)
            started(result())
            worker.points.hold(fault, hold)
            return result()
        standing = threading.Event()
        worker.loop.call_soon_threadsafe(lambda: (standing.set(), hold.wait()))
        if not standing.wait(3):
            hold.stop(Reason.COMPLETED)
            raise Refused(62002, "the event loop did not come to a standstill within 3 s")
        began = boot_time()
        hold.begin(length)
        started(result())
        hold.wait()
        return result()

    return body


def kill(wanted):
    name = (wanted.signal or "TERM").upper().removeprefix("SIG")
    try:
        number = signal.Signals(int(name)) if name.isdigit() else signal.Signals["SIG" + name]
    except (KeyError, ValueError):
        raise Refused(63001, f"action.kill.signal: {wanted.signal} is not a signal") from None
    if number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        raise Refused(63002, "a worker that stops itself has nobody to let it go on; use delay")

    def body(hold, _started):
        hold.acknowledged.wait(0.5)
        if hold.ended():
            raise Refused(62005, "the signal was not sent: the order was taken back")
        os.kill(os.getpid(), number)
        return Result(kill=action_pb2.KillResult(signal=number.name.removeprefix("SIG"), pids=[os.getpid()]))

    return body


def resident(mapping):
    """Bytes of a mapping that are resident, by mincore(2)."""
    anchor = ctypes.c_char.from_buffer(mapping)
    pages = (ctypes.c_ubyte * -(-len(mapping) // mmap.PAGESIZE))()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mincore(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(len(mapping)), pages):
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


def available():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))


def memory(size, length):
    if size == 0:
        raise Refused(63001, "action.memory.size_bytes: must be above zero")
    if size > available() - RESERVE:
        raise Refused(63012, f"{size} bytes were asked for, the machine has {available()} left")

    def body(hold, started):
        began = boot_time()
        try:
            mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, ValueError, OverflowError) as error:
            raise Refused(61008, f"mapping {size} bytes: {error}") from None
        with mapping:
            for page in range(0, size, mmap.PAGESIZE):
                mapping[page] = 0xCA
                if page % (8 << 20) == 0 and hold.ended():
                    raise Refused(62005, f"it ended with {page} of {size} bytes resident")
            figures = action_pb2.MemoryResult(
                resident_bytes=resident(mapping), time_to_resident=duration(boot_time() - began))
            held = boot_time()
            hold.begin(length)
            started(Result(memory=figures))
            hold.wait()
            figures.held.CopyFrom(duration(boot_time() - held))
            before = resident_bytes()
        figures.returned_bytes = min(figures.resident_bytes, max(0, before - resident_bytes()))
        return Result(memory=figures)

    return body


def cpu(wanted, length):
    load = wanted.load or 100
    if load > 100:
        raise Refused(63001, f"action.cpu.load: {load} % is over 100 % of a core")
    if wanted.cores > 1:
        raise Refused(63012, "the threads of a Python worker share one core at the most")

    def body(hold, started):
        began, own, iterations = boot_time(), time.thread_time(), 0
        hold.begin(length)
        started(Result(cpu=action_pb2.CpuResult(threads=1, requested_load=load)))
        while not hold.ended():
            burnt, elapsed = time.thread_time() - own, boot_time() - began
            ahead = burnt * 100 / load - elapsed
            if load < 100 and ahead >= 0.01 * (100 - load) / 100:
                hold.wait(ahead)
            else:
                iterations += sum(1 for _ in range(1000))
        burnt, held = time.thread_time() - own, boot_time() - began
        return Result(cpu=action_pb2.CpuResult(
            cpu_time=duration(burnt), held=duration(held), threads=1, iterations=iterations,
            achieved_load=100 * burnt / held, requested_load=load))

    return body


def collect(_hold, _started):
    def count():
        return sum(generation["collections"] for generation in gc.get_stats())

    before, bytes_before, began = count(), resident_bytes(), boot_time()
    gc.collect()
    pause = boot_time() - began
    return Result(gc=action_pb2.GcResult(
        collections_before=before, collections_after=count(), bytes_before=bytes_before,
        bytes_after=resident_bytes(), pause=duration(pause), runtime="cpython"))


def error(wanted, length, points):
    probability = wanted.probability if wanted.HasField("probability") else 1.0
    if not 0 < probability <= 1:
        raise Refused(63001, f"action.error.probability: {probability} is not above 0 and at most 1")
    message = wanted.message or "Yowl! Chaos kitty struck!"

    def body(hold, started):
        figures, lock = action_pb2.ErrorResult(message=message), threading.Lock()

        def fault(point):
            if (wanted.point and wanted.point != point) or hold.ended():
                return
            with lock:
                figures.calls += 1
                if random.random() >= probability:
                    return
                figures.failed += 1
                if figures.failed == wanted.count:
                    hold.stop(Reason.COMPLETED)
            raise Injected(message)

        hold.begin(length)
        started(Result(error=figures))
        points.hold(fault, hold)
        return Result(error=figures)

    return body
