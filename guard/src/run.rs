//! The process `kitty-guard`: one thread, one poll loop. It is spawned by the agent with their socket as its
//! standard input.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::{OFlags, fcntl_setfl},
    io::Errno,
    mm::{MlockAllFlags, mlockall},
    net::sockopt::socket_peercred,
    process::{PidfdFlags, Resource, Rlimit, pidfd_open, setrlimit, setsid},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use crate::{
    CgroupVersion, Process, Undo,
    clock::boot_time,
    hooks,
    message::{Answer, Lines, Order, Reverted, Why, line},
    revert::{LOCAL_LIMIT, LOOK_AGAIN, Local, Outcome, slow},
    switch::{Due, Switch},
    system,
};

/// Guards until the agent is gone and everything is put back, or until a signal and the same.
///
/// # Errors
/// It was not spawned by an agent, or the kernel lacks something.
pub fn run() -> io::Result<()> {
    // A session of its own: whoever signals the agent's group does not hit the guard. Fails for a leader only.
    _ = setsid();
    system::close_inherited()?;
    let mut guard = Guard::new(io::stdin().as_fd().try_clone_to_owned()?)?;
    rehearse();
    guard.answer(&Answer::Ready);
    while !guard.is_over() {
        let ready = guard.wait()?;
        guard.turn(ready);
    }
    guard.leave_word();
    Ok(())
}

/// Puts back what is not there, so that nothing has to be read from a disk or found room for when it counts, and
/// keeps in memory what was needed for it. A kernel that does not allow that costs time, not the guarantee.
fn rehearse() {
    let gone = Process { pid: std::process::id(), start_time: u64::MAX };
    let cgroup = PathBuf::from("/proc/self/no-such-cgroup");
    let undos = [
        Undo::Continue { processes: vec![gone] },
        Undo::EndProcesses { processes: vec![gone] },
        Undo::Thaw { cgroup: cgroup.clone(), version: CgroupVersion::V1 },
        Undo::EndCgroup { cgroup: cgroup.clone(), version: CgroupVersion::V2 },
        Undo::RemoveCgroup { cgroup },
        Undo::RemoveFile { path: "/proc/self/no-such-file".into() },
    ];
    let mut switch = Switch::default();
    switch.arm(String::new(), undos.into(), Some(Duration::ZERO));
    for due in switch.due(boot_time()) {
        let mut local = Local::begin(&due.undos);
        local.step(true);
        let (settled, outcomes) = (due.settled, local.outcomes());
        let now = boot_time();
        let told = Reverted { id: due.id, why: due.why, began: now, at: now, settled, outcomes };
        drop(line(&Answer::Reverted(told)));
    }
    // Pages that were never touched stay out of it.
    _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT);
    // What it holds is nobody's business, and writing it out would take time.
    _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

struct Guard {
    socket: OwnedFd,
    /// Of the agent. `None`: it was gone before we could look.
    agent: Option<OwnedFd>,
    timer: OwnedFd,
    signals: OwnedFd,
    /// Counts up when a slow undo is over.
    wake: OwnedFd,
    slow_done: mpsc::Sender<SlowDone>,
    slow: mpsc::Receiver<SlowDone>,
    switch: Switch,
    under_way: Vec<UnderWay>,
    lines: Lines,
    out: Vec<u8>,
    /// The agent is gone, or does not hear us.
    deaf: bool,
    /// The agent injects nothing any more.
    gone: bool,
    /// Everything is being put back for the last time.
    ending: bool,
    /// Ids of what was put back, all of it, for good.
    put_back: BTreeSet<String>,
}

/// The slow undos of that action are over.
type SlowDone = (String, Vec<Outcome>);

/// A fault that is being put back.
struct UnderWay {
    due: Due,
    began: Duration,
    at: Duration,
    /// `None`: the local ones are over, and the slow ones run.
    local: Option<Local>,
    outcomes: Vec<Outcome>,
    /// Nothing can be injected after it.
    for_good: bool,
}

/// Which descriptors have something to say.
struct Ready {
    socket: bool,
    agent_gone: bool,
    signal: bool,
}

impl Guard {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&socket, OFlags::NONBLOCK)?;
        // The maker of the socket pair is the agent, whatever has become of our parent since.
        let agent = socket_peercred(&socket)?.pid;
        let (slow_done, slow) = mpsc::channel();
        Ok(Self {
            agent: pidfd_open(agent, PidfdFlags::empty()).ok(),
            timer: timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?,
            signals: system::ending_signals()?,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            slow_done,
            slow,
            switch: Switch::default(),
            under_way: Vec::new(),
            lines: Lines::default(),
            out: Vec::new(),
            deaf: false,
            gone: false,
            ending: false,
            put_back: BTreeSet::new(),
            socket,
        })
    }

    fn is_over(&self) -> bool {
        self.ending && self.under_way.is_empty() && (self.deaf || self.out.is_empty())
    }

    /// Sleeps until the next end, the next look, or news.
    fn wait(&self) -> io::Result<Ready> {
        let looking = self.under_way.iter().any(|one| one.local.is_some());
        let look = looking.then(|| boot_time() + LOOK_AGAIN);
        self.set_timer([self.switch.next_end(), look].into_iter().flatten().min())?;
        let mut fds = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.timer, PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        if !self.deaf {
            let more = if self.out.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            fds.push(PollFd::new(&self.socket, PollFlags::IN | more));
            fds.extend(self.agent.iter().map(|agent| PollFd::new(agent, PollFlags::IN)));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let says = |place: usize| fds.get(place).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready { signal: says(0), socket: says(3), agent_gone: says(4) })
    }

    fn set_timer(&self, at: Option<Duration>) -> io::Result<()> {
        // All zero disarms it; a time that has passed fires at once.
        let at = at.map_or(Duration::ZERO, |at| at.max(Duration::from_nanos(1)));
        let at = Timespec::try_from(at).map_err(io::Error::other)?;
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    fn turn(&mut self, ready: Ready) {
        // What is due comes before anything else.
        self.begin_due();
        if ready.agent_gone || self.agent.is_none() {
            self.agent_is_gone();
        }
        if ready.signal {
            drain(&self.signals);
            self.end(Why::Signal);
        }
        if ready.socket {
            self.listen();
        }
        self.begin_due();
        self.go_on();
        self.speak();
    }

    fn begin_due(&mut self) {
        for due in self.switch.due(boot_time()) {
            self.begin(due);
        }
    }

    /// Issues the local undos of a fault at once.
    fn begin(&mut self, due: Due) {
        hooks::point("guard-before-revert");
        let undos: &[Undo] = if hooks::without("guard-revert") { &[] } else { &due.undos };
        let began = boot_time();
        let local = Local::begin(undos);
        let (at, outcomes, for_good) = (boot_time(), Vec::new(), self.gone || due.settled);
        self.under_way.push(UnderWay { due, began, at, local: Some(local), outcomes, for_good });
    }

    /// Its process has ended, or is about to: the other end of the socket is closed.
    fn agent_is_gone(&mut self) {
        self.gone = true;
        self.end(Why::AgentGone);
    }

    /// Puts everything back, and then ends.
    fn end(&mut self, why: Why) {
        self.deaf |= why == Why::AgentGone;
        if !self.ending {
            self.ending = true;
            for due in self.switch.revert_all(why) {
                self.begin(due);
            }
        }
    }

    /// Reads what the agent says.
    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match rustix::io::read(&self.socket, &mut bytes) {
                Ok(0) => return self.agent_is_gone(),
                Ok(count) => self.lines.push(&bytes[..count]),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => return self.agent_is_gone(),
            }
        }
        loop {
            match self.lines.take() {
                Ok(Some(order)) => self.obey(order),
                Ok(None) => return,
                // An agent that is not understood is none.
                Err(_) => return self.end(Why::AgentGone),
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Arm { id, undos, deadline } => {
                hooks::point("guard-before-arm");
                if !self.ending && self.switch.arm(id.clone(), undos, deadline) {
                    hooks::point("guard-armed");
                    self.answer(&Answer::Armed { id });
                }
            }
            Order::Deadline { id, at } => {
                if let Some(due) = self.switch.deadline(&id, at) {
                    self.begin(due);
                }
            }
            Order::Lease { until } => self.switch.lease(until),
            Order::Revert { id } => {
                if let Some(due) = self.switch.revert(&id, Why::Ordered) {
                    self.begin(due);
                }
            }
            Order::RevertAll => {
                for due in self.switch.revert_all(Why::Ordered) {
                    self.begin(due);
                }
            }
            Order::Disarm { id } => {
                hooks::point("guard-before-disarm");
                self.switch.disarm(&id);
                self.put_back.remove(&id);
            }
            Order::Ping => self.answer(&Answer::Alive),
        }
    }

    /// Looks at what is under way, and reports what is over.
    fn go_on(&mut self) {
        drain(&self.wake);
        while let Ok((id, outcomes)) = self.slow.try_recv() {
            if let Some(place) = self.under_way.iter().position(|one| one.local.is_none() && one.due.id == id)
            {
                let mut one = self.under_way.swap_remove(place);
                one.outcomes.extend(outcomes);
                self.over(one);
            }
        }
        let now = boot_time();
        for mut one in std::mem::take(&mut self.under_way) {
            let last = now > one.at + LOCAL_LIMIT;
            if one.local.as_mut().is_some_and(|local| local.step(last)) {
                one.outcomes = one.local.take().map(Local::outcomes).unwrap_or_default();
                self.locals_over(one);
            } else {
                self.under_way.push(one);
            }
        }
    }

    fn locals_over(&mut self, one: UnderWay) {
        if one.due.undos.iter().all(Undo::is_local) {
            return self.over(one);
        }
        let (id, undos, done) = (one.due.id.clone(), one.due.undos.clone(), self.slow_done.clone());
        let wake = self.wake.try_clone();
        self.under_way.push(one);
        // Beside all others: a program that takes its time keeps nobody waiting.
        thread::spawn(move || {
            let sent = done.send((id, slow(&undos)));
            if let (Ok(()), Ok(wake)) = (sent, wake) {
                _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
            }
        });
    }

    fn over(&mut self, one: UnderWay) {
        let UnderWay { due: Due { id, why, settled, silent, .. }, began, at, outcomes, for_good, .. } = one;
        hooks::point("guard-reverted");
        let again = self.switch.ended(&id, boot_time());
        if for_good && outcomes.iter().all(|outcome| outcome.failure.is_none()) {
            self.put_back.insert(id.clone());
        } else {
            self.put_back.remove(&id);
        }
        if !silent {
            self.answer(&Answer::Reverted(Reverted { id, why, began, at, settled, outcomes }));
        }
        if let Some(due) = again {
            self.begin(due);
        }
    }

    fn answer(&mut self, answer: &Answer) {
        match line(answer) {
            Ok(line) if !self.deaf => self.out.extend_from_slice(&line),
            Ok(line) => complain(&line),
            Err(error) => complain(error.to_string().as_bytes()),
        }
    }

    /// Writes as much as the agent takes: one that is stopped keeps nothing waiting.
    fn speak(&mut self) {
        while !self.out.is_empty() && !self.deaf {
            match rustix::io::write(&self.socket, &self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.agent_is_gone(),
            }
        }
    }

    /// Writes what was put back for good behind the agent's own words in the lock on its state folder, which is our
    /// standard output, so that the next agent does not do it again. At the very end: a disk may keep us waiting.
    fn leave_word(&self) {
        let lines: String = self.put_back.iter().map(|id| format!("{id}\n")).collect();
        // Whoever does not find it puts back once more, which does no harm to what is still as it was.
        drop(io::Write::write_all(&mut io::stdout(), lines.as_bytes()));
    }
}

/// With nobody else to tell, the log hears it.
fn complain(line: &[u8]) {
    drop(io::Write::write_all(&mut io::stderr(), line));
}

fn drain(descriptor: &OwnedFd) {
    let mut bytes = [0; 512];
    while rustix::io::read(descriptor, &mut bytes).is_ok_and(|count| count > 0) {}
}
