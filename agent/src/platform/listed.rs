//! A target as the roster keeps it. A host may have thousands, so what the server is told of each is kept as it goes
//! over the wire: a third of what it takes as a message.

use std::sync::Arc;

use chaos_kitty::v1::Target;
use chaos_kitty_guard::Process;
use prost::Message;

use super::{Subject, kubernetes::handle::PodHandle, supervisor::Supervisor};

/// A [`Subject`], packed.
#[derive(Clone, Debug)]
pub struct Listed {
    id: Arc<str>,
    target: Box<[u8]>,
    main: Option<Process>,
    cgroup: Option<Arc<str>>,
    supervisor: Option<Arc<dyn Supervisor>>,
    pod: Option<Arc<PodHandle>>,
}

impl Listed {
    /// The target's id.
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What the server is told of it.
    pub fn target(&self) -> Target {
        // What was packed here can be unpacked.
        Target::decode(&*self.target).unwrap_or_default()
    }

    /// Its main process.
    pub const fn main(&self) -> Option<Process> {
        self.main
    }

    /// Bytes that the server is told of it.
    pub const fn size(&self) -> usize {
        self.target.len()
    }

    /// What actions need of it.
    pub fn subject(&self) -> Subject {
        Subject {
            target: self.target(),
            main: self.main,
            cgroup: self.cgroup.clone(),
            supervisor: self.supervisor.clone(),
            pod: self.pod.clone(),
        }
    }

    /// Whether the server is told the same of both.
    pub fn is_told_as(&self, other: &Self) -> bool {
        self.target == other.target
    }
}

impl From<Subject> for Arc<Listed> {
    fn from(subject: Subject) -> Self {
        let Subject { target, main, cgroup, supervisor, pod } = subject;
        let id = target.id.as_str().into();
        let target = target.encode_to_vec().into();
        Self::new(Listed { id, target, main, cgroup, supervisor, pod })
    }
}

/// Who runs it follows from its id.
impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        (&self.target, self.main, &self.cgroup) == (&other.target, other.main, &other.cgroup)
    }
}
