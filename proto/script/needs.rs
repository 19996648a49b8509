//! What a target must have of its own for a script that has no other end to what it takes.

use std::collections::BTreeSet;

/// What a target may share with its host, or have of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Own {
    /// A limit on its memory.
    MemoryLimit,
    /// A limit on the number of its processes.
    ProcessLimit,
    /// The file system of its /var/tmp, or of its /tmp where it has no /var/tmp that can be written.
    Disk,
    /// Its network namespace.
    Network,
    /// Its mount namespace.
    Mounts,
}

impl Own {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::MemoryLimit, Self::ProcessLimit, Self::Disk, Self::Network, Self::Mounts];

    /// As a header writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::MemoryLimit => "memory limit",
            Self::ProcessLimit => "process limit",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Mounts => "mounts",
        }
    }
}

/// Words between commas.
pub(super) fn read(value: &str) -> Result<BTreeSet<Own>, String> {
    let find = |word: &str| {
        let known = Own::ALL.into_iter().find(|own| own.word() == word);
        known.ok_or_else(|| format!("{word:?} must be one of {}", Own::ALL.map(Own::word).join(", ")))
    };
    value.split(',').map(str::trim).filter(|word| !word.is_empty()).map(find).collect()
}
