"""A worker and client of ChaosKitty, on the code generated from its protos. README.md says how.

The stream lives on a thread of its own. Each fault looks at its own deadline and at the worker's lease at
every step, so that none needs the server, or another thread, to end it.
"""

import collections
import logging
import os
import queue
import random
import re
import socket
import threading
import time
import uuid

import grpc
from google.protobuf.duration_pb2 import Duration

import actions
from actions import Hold, Injected, Refused, boot_time
from chaoskitty.v1 import action_pb2, agent_pb2, chaos_pb2_grpc, fleet_pb2

__all__ = ["Client", "Injected", "Worker"]

log = logging.getLogger("chaos_kitty")

State = action_pb2.ActionState
Reason = action_pb2.EndReason
LEASE_RANGE = (2.0, 600.0)
REMEMBERED = 10_000
FINAL = (State.REVERTED, State.DONE, State.FAILED, State.REFUSED, State.STUCK)


def channel(server):
    """A channel to `unix:PATH` or `http://host:port`."""
    target = server.removeprefix("http://")
    if target.startswith("https://"):
        raise ValueError("https:// needs a channel with credentials; this client is for local use")
    # Without it the authority is the socket's path, which no HTTP/2 server accepts.
    return grpc.insecure_channel(target, options=[("grpc.default_authority", "localhost")])


class Client:
    """The way round: what the control plane knows, and faults on other targets."""

    def __init__(self, server):
        self.channel = channel(server)
        self.stub = chaos_pb2_grpc.ChaosStub(self.channel)

    def status(self):
        return self.stub.GetStatus(fleet_pb2.GetStatusRequest())

    def targets(self):
        return list(self.stub.ListTargets(fleet_pb2.ListTargetsRequest()).targets)

    def unleash(self, action, target):
        """Yields the action's status as it changes, until it is over."""
        yield from self.stub.Unleash(action_pb2.UnleashRequest(action=action, target=target, source="python"))


class Lease:
    """When everything that is held ends: the length after the sending of the newest answer that the server had."""

    def __init__(self):
        self.length, self.until, self.sent, self.lock = 0.0, 0.0, {}, threading.Lock()

    def welcomed(self, length, hello_sent):
        with self.lock:
            self.length = min(max(length, LEASE_RANGE[0]), LEASE_RANGE[1])
            self.until = max(self.until, hello_sent + self.length)
            self.sent = {0: hello_sent}

    def renewed(self, number, answered, now):
        with self.lock:
            if answered in self.sent:
                self.until = max(self.until, self.sent[answered] + self.length)
            self.sent = {n: at for n, at in self.sent.items() if n >= answered}
            self.sent[number] = now

    def ordered(self, answered, start_within, now):
        """Whether an order comes in time. Then it is a sign of life as good as a renewal."""
        patience = min(self.length, self.length / 2 + start_within)
        with self.lock:
            in_time = answered in self.sent and now < self.sent[answered] + patience
            if in_time:
                self.until = max(self.until, self.sent[answered] + self.length)
            return in_time


class Worker:
    """This process as a target. Closing it ends every fault and deregisters it."""

    def __init__(self, name, group="", labels=None, server="unix:chaos_kitty.ipc", loop=None):
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,119}", name):
            raise ValueError(f"{name!r} is not 1 to 119 letters, digits, '.', '_' or '-'")
        self.name, self.group, self.labels, self.loop = name, group, dict(labels or {}), loop
        self.id = f"{name}-{uuid.uuid4().hex[:8]}"
        self.lease, self.points = Lease(), actions.Points()
        self.server, self.server_id, self.epoch, self.latched = server, "", 0, False
        self.active, self.over = {}, collections.deque(maxlen=REMEMBERED)
        self.outbox, self.sequence, self.told = [], 0, 0
        self.lock, self.outbound, self.closed = threading.RLock(), None, threading.Event()
        self.thread = threading.Thread(target=self._run, name="kitty-control", daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def guard(self, point=""):
        """Passes a guarded point: raises `Injected` or waits while a fault says so."""
        self.points.guard(point)

    def close(self):
        """Ends every fault, reports that, and leaves."""
        self.closed.set()
        self._stop_all(Reason.SHUTDOWN)
        until = boot_time() + 2
        while self.active and boot_time() < until:
            time.sleep(0.01)
        self._send(goodbye=agent_pb2.Goodbye(reason="the worker was closed"))
        outbound = self.outbound
        if outbound:
            outbound.put(None)
        self.thread.join(2)

    # The stream

    def _run(self):
        told, failures = None, 0
        while not self.closed.is_set():
            renewals = 0
            try:
                with channel(self.server) as line:
                    for renewals in self._attached(chaos_pb2_grpc.ChaosStub(line)):
                        told = None
                trouble = "the server ended the stream"
            except grpc.RpcError as error:
                trouble = f"{error.code().name}: {error.details()}"
            except Refused as error:
                trouble = str(error)
            except queue.Full:
                trouble = "the server takes nothing in"
            if trouble != told and not self.closed.is_set():
                told = trouble
                log.warning("chaos kitty is away, trying again: %s", trouble)
            failures = 0 if renewals else failures + 1
            self.closed.wait(random.uniform(0, min(10.0, 0.1 * 2**min(failures, 10))))

    def _attached(self, stub):
        """One stream. Yields the number of each renewal."""
        outbound, hello_sent = queue.Queue(1024), boot_time()
        outbound.put(agent_pb2.AgentMessage(hello=self._hello()))
        inbound = stub.Attach(iter(outbound.get, None))
        try:
            for message in inbound:
                kind = message.WhichOneof("kind")
                if kind == "welcome":
                    self._welcomed(message.welcome, hello_sent, outbound)
                elif kind == "refusal":
                    raise Refused(message.refusal.problem.code, message.refusal.problem.message)
                elif kind == "renewal":
                    renewal = message.renewal
                    self._seen(renewal.epoch)
                    self.lease.renewed(renewal.number, renewal.answered, boot_time())
                    self._send(renewal=agent_pb2.LeaseRenewal(number=renewal.number))
                    yield renewal.number
                else:
                    self._obey(kind, message)
        finally:
            self.outbound = None
            outbound.put(None)
            inbound.cancel()

    def _hello(self):
        with self.lock:
            self.told = self.sequence
            held = [agent_pb2.ActionReport.FromString(report.SerializeToString()) for report in self.outbox]
            reported = {report.action_id for report in held}
            held += [entry["last"] for key, entry in self.active.items() if key not in reported]
            for report in held:
                if report.action_id in self.active:
                    report.action.CopyFrom(self.active[report.action_id]["action"])
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
        kinds = action_pb2.ActionKind
        return agent_pb2.Hello(
            agent_id=self.id, host=socket.gethostname(), pid=os.getpid(), version="python 0.1.0",
            boot_id=boot_id, labels=self.labels, held=held, protocol_versions=[1],
            role=fleet_pb2.AgentRole.WORKER, group=self.group, name=self.name,
            actions=[kinds.DELAY, kinds.KILL, kinds.MEMORY, kinds.CPU, kinds.GC, kinds.ERROR],
            epoch=self.epoch, server_id=self.server_id, latched=self.latched)

    def _welcomed(self, welcome, hello_sent, outbound):
        if welcome.server_id == self.server_id:
            self._seen(welcome.epoch)
        self.server_id, self.epoch, self.latched = welcome.server_id, welcome.epoch, welcome.latched
        self.lease.welcomed(seconds(welcome.lease), hello_sent)
        with self.lock:
            self.outbound = outbound
            since_hello = [report for report in self.outbox if report.sequence > self.told]
            if since_hello:
                self._send(reports=agent_pb2.ActionReports(reports=since_hello))
        self._stop_all(Reason.HALTED if self.latched else Reason.STOPPED,
                       but=() if self.latched else welcome.known)
        log.info("chaos kitty is watching: connection %d", welcome.connection_id)

    def _seen(self, epoch):
        if epoch < self.epoch:
            raise Refused(62006, f"epoch {epoch} is older than {self.epoch}, which was seen already")
        self.epoch = epoch

    def _send(self, **kind):
        with self.lock:
            if self.outbound:
                self.outbound.put_nowait(agent_pb2.AgentMessage(**kind))

    # Orders

    def _obey(self, kind, message):
        if kind == "start":
            self._start(message.start)
        elif kind == "taken":
            self._taken(message.taken.sequence)
        elif kind == "ping":
            self._send(pong=agent_pb2.Pong(number=message.ping.number))
        elif kind == "stop":
            self._seen(message.stop.epoch)
            entry = self.active.get(message.stop.action_id)
            if entry:
                entry["hold"].stop(Reason.STOPPED)
        elif kind == "revert_all":
            self._seen(message.revert_all.epoch)
            self.latched = True
            self._stop_all(Reason.HALTED)
        elif kind == "unlatch":
            self._seen(message.unlatch.epoch)
            self.latched = False
        elif kind == "step":
            problem = action_pb2.Problem(code=63002, status="FAILED_PRECONDITION",
                                         message="a worker runs no steps of experiments")
            self._send(step=agent_pb2.StepResult(step_id=message.step.step_id, problem=problem))

    def _start(self, order):
        if order.action_id in self.active or order.action_id in self.over:
            return
        try:
            self._admit(order)
            body, resource = actions.parse(order.action, self)
            busy = [key for key, entry in self.active.items() if resource and entry["resource"] == resource]
            if busy:
                raise Refused(61006, f"a fault on {resource} is in force: action {busy[0]}")
        except Refused as refused:
            self._report(order, State.REFUSED, problem=refused.problem())
            return
        hold = Hold(self.lease)
        entry = {"hold": hold, "resource": resource, "action": order.action}
        with self.lock:
            self.active[order.action_id] = entry
            entry["last"] = self._report(order, State.ACCEPTED)
        threading.Thread(target=self._carry_out, args=(order, hold, body), daemon=True).start()

    def _admit(self, order):
        if order.epoch < self.epoch:
            raise Refused(62006, f"the order is of epoch {order.epoch}, {self.epoch} was seen already")
        if self.latched:
            raise Refused(61001, "everything is halted")
        if not self.lease.ordered(order.answered, seconds(order.start_within), boot_time()):
            raise Refused(62005, "the order was under way for longer than it may be")
        if not order.target_id.endswith("/" + self.id):
            raise Refused(62004, f"the order is for {order.target_id}, this is {self.id}")

    def _carry_out(self, order, hold, body):
        name = order.action.WhichOneof("kind")
        log.warning("chaos kitty strikes: %s, action %s", name, order.action_id)
        held = order.action.HasField("duration")
        try:
            result = body(hold, lambda so_far: self._report(order, State.STARTED, result=so_far, hold=hold))
            state, problem = (State.REVERTED if held else State.DONE), None
        except Refused as refused:
            result, state, problem = None, State.FAILED, refused.problem()
        except Exception as error:  # an action that breaks off must not take the worker with it
            result, state, problem = None, State.FAILED, Refused(10000, repr(error)).problem()
        reason = (hold.ended() if held else Reason.COMPLETED) if state != State.FAILED else None
        log.info("chaos kitty is done: %s, action %s: %s", name, order.action_id, result or problem)
        self._report(order, state, result=result, problem=problem, reason=reason)

    # Reports

    def _report(self, order, state, result=None, problem=None, reason=None, hold=None):
        with self.lock:
            self.sequence += 1
            report = agent_pb2.ActionReport(
                action_id=order.action_id, sequence=self.sequence, target_id=order.target_id, state=state,
                end_reason=reason or 0, result=result, problem=problem)
            report.at.GetCurrentTime()
            if hold:
                report.remaining.FromNanoseconds(int(hold.remaining() * 1e9))
            self.outbox = self.outbox[1 - REMEMBERED:] + [report]
            if order.action_id in self.active:
                self.active[order.action_id]["last"] = report
            if state in FINAL:
                self.active.pop(order.action_id, None)
                self.over.append(order.action_id)
            self._send(reports=agent_pb2.ActionReports(reports=[report]))
            return report

    def _taken(self, sequence):
        with self.lock:
            self.outbox = [report for report in self.outbox if report.sequence > sequence]
            for entry in self.active.values():
                if entry["last"].sequence <= sequence:
                    entry["hold"].acknowledged.set()

    def _stop_all(self, reason, but=()):
        with self.lock:
            for key, entry in self.active.items():
                if key not in but:
                    entry["hold"].stop(reason)


def seconds(duration: Duration):
    return duration.seconds + duration.nanos / 1e9
