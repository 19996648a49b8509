//! Which server and epoch is obeyed. Pure.

use chaos_kitty::{Code, Problem, limits};

use crate::state::Seen;

impl Seen {
    /// A server welcomes this agent: its epoch is obeyed from now on, unless a newer one of the same server
    /// was.
    ///
    /// # Errors
    /// [`Code::StaleEpoch`]; [`Code::ProtocolViolation`]: it is no epoch.
    pub(crate) fn welcome(&mut self, server_id: &str, epoch: u64) -> Result<(), Problem> {
        if epoch >= limits::SANE_EPOCH {
            let what = format!("the server says that it is of epoch {epoch}, and no server comes that far");
            return Err(Problem::new(Code::ProtocolViolation, what).hint("see which program listens there"));
        }
        if self.server_id == server_id {
            self.obey(epoch)?;
        }
        server_id.clone_into(&mut self.server_id);
        self.epoch = epoch;
        Ok(())
    }

    /// Something that orders, of the server that is obeyed.
    ///
    /// # Errors
    /// [`Code::StaleEpoch`]: it is older than the newest epoch that was obeyed.
    pub(crate) fn obey(&self, epoch: u64) -> Result<(), Problem> {
        if epoch >= self.epoch {
            return Ok(());
        }
        let message =
            format!("it is of epoch {epoch} of the server, and epoch {} was obeyed already", self.epoch);
        Err(Problem::new(Code::StaleEpoch, message).hint(
            "end the older kittyd; if its store was restored from a copy, start it again; if another program \
                 took the server's name, stop this agent, run `kitty-agent forget-server` and start it",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_obeyed_until_a_newer_start_of_it_was_seen() {
        let mut seen = Seen::default();
        seen.welcome("a", 5).unwrap();
        assert!(seen.obey(5).is_ok() && seen.obey(4).is_err());
        seen.welcome("a", 7).unwrap();
        assert_eq!(seen.welcome("a", 5).unwrap_err().code, Code::StaleEpoch);
        assert_eq!(seen.epoch, 7);
    }

    #[test]
    fn another_server_has_epochs_of_its_own() {
        let mut seen = Seen { server_id: "a".into(), epoch: 7, latched: true };
        seen.welcome("b", 1).unwrap();
        assert_eq!(seen, Seen { server_id: "b".into(), epoch: 1, latched: true });
    }

    #[test]
    fn an_epoch_that_nothing_could_be_newer_than_is_not_remembered() {
        let mut seen = Seen { server_id: "a".into(), epoch: 7, latched: false };
        for epoch in [u64::MAX, limits::SANE_EPOCH] {
            assert_eq!(seen.welcome("a", epoch).unwrap_err().code, Code::ProtocolViolation);
            assert_eq!(seen.welcome("b", epoch).unwrap_err().code, Code::ProtocolViolation);
        }
        assert_eq!(seen.epoch, 7);
        assert!(seen.obey(6).unwrap_err().hint.contains("kitty-agent forget-server"));
    }
}
