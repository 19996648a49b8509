//! Names of actions, for messages that hold an action.

use crate::v1::{action::Kind, action_kind::Name};

impl Kind {
    /// The action's name.
    pub const fn name(&self) -> Name {
        match self {
            Self::Delay(_) => Name::Delay,
            Self::Kill(_) => Name::Kill,
            Self::Memory(_) => Name::Memory,
            Self::Cpu(_) => Name::Cpu,
            Self::Gc(_) => Name::Gc,
            Self::Error(_) => Name::Error,
            Self::Script(_) => Name::Script,
            Self::Restart(_) => Name::Restart,
            Self::Stop(_) => Name::Stop,
            Self::Scale(_) => Name::Scale,
        }
    }

    /// Whether it is held for a duration, which it then needs; the others refuse one.
    pub const fn is_held(&self) -> bool {
        !matches!(self, Self::Kill(_) | Self::Gc(_) | Self::Restart(_))
    }
}

impl Name {
    /// As people write it: `delay`, `kill`, …
    pub fn word(self) -> String {
        self.as_str_name().to_ascii_lowercase()
    }
}
