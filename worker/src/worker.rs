//! The worker as its application holds it.

use std::{thread::JoinHandle, time::Duration};

use chaos_kitty::{Problem, v1::UnleashRequest};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Builder, ChaosLayer, Points, Updates, calls,
    control::{self, Command, Setup, State},
};

/// Longest wait for the faults to end and the server to be told, when a worker is dropped.
const FAREWELL: Duration = Duration::from_secs(3);

/// This process as a target. Dropping it ends every fault and deregisters it.
#[derive(Debug)]
#[must_use = "dropping it deregisters the worker"]
pub struct Worker {
    id: String,
    points: Points,
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    over: std::sync::mpsc::Receiver<()>,
    control: Option<JoinHandle<()>>,
}

impl Worker {
    /// Describes a worker of this name: 1 to 119 letters, digits, `.`, `_` and `-`.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder::new(name.into())
    }

    /// Attaches under this name with every default: see [`Builder::connect`].
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub fn connect(name: impl Into<String>) -> Result<Self, Problem> {
        Self::builder(name).connect()
    }

    pub(crate) fn start(setup: Setup) -> Result<Self, Problem> {
        let (id, points) = (setup.hello.agent_id.clone(), setup.points.clone());
        let (commands, inbox) = mpsc::channel(64);
        let (show, state) = watch::channel(State::Connecting);
        let (finished, over) = std::sync::mpsc::channel();
        let control = control::spawn(setup, inbox, show, finished)?;
        Ok(Self { id, points, commands, state, over, control: Some(control) })
    }

    /// Its agent id: its name and eight hexadecimal digits, made anew by each process. The last part of its target's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it stands with its server.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// A `tower` layer that lets its faults reach an HTTP service's requests.
    pub fn layer(&self, point: &'static str) -> ChaosLayer {
        ChaosLayer::new(point).at(&self.points)
    }

    /// Applies an action to a target that may be connected elsewhere, through this worker's own stream:
    /// it works where only a relay can be reached. Dropping the updates ends no fault.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::ConnectionLost`]: the worker is not attached. What the server refuses the call
    /// for comes as the first update.
    pub async fn unleash(&self, request: UnleashRequest) -> Result<Updates, Problem> {
        let (reply, updates) = calls::channel();
        let (sent, taken) = oneshot::channel();
        let command = Command::Invoke { request: Box::new(request), reply, sent };
        self.commands.send(command).await.map_err(|_| calls::lost())?;
        taken.await.map_err(|_| calls::lost())??;
        Ok(Updates::new(updates))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.commands.try_send(Command::Leave);
        // A full queue is no obstacle: closing it says the same.
        let (closed, _) = mpsc::channel(1);
        self.commands = closed;
        if self.over.recv_timeout(FAREWELL) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            return;
        }
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}
