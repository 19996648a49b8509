//! Whose orders are obeyed, and for how long: the newest epoch, the lease, the latch of a halt. Pure.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem,
    lease::Lease,
    limits,
    v1::{LeaseRenewal, StartAction, Welcome},
};

/// What the worker knows of its server.
#[derive(Debug, Default)]
pub(crate) struct Authority {
    /// Which server the epoch is of. Empty: none yet.
    pub(crate) server_id: String,
    /// The newest epoch seen.
    pub(crate) epoch: u64,
    /// Told to revert everything, and not yet told to resume.
    pub(crate) latched: bool,
    lease: Option<Lease>,
}

impl Authority {
    /// A server accepts the Hello that was sent at `hello_sent`.
    ///
    /// # Errors
    /// [`Code::StaleEpoch`]: it is an older run of a server that is known. [`Code::ProtocolViolation`]: its epoch is none.
    pub(crate) fn welcomed(&mut self, welcome: &Welcome, hello_sent: Duration) -> Result<(), Problem> {
        sane(welcome.epoch)?;
        if welcome.server_id == self.server_id {
            self.seen(welcome.epoch)?;
        }
        self.server_id.clone_from(&welcome.server_id);
        self.epoch = welcome.epoch;
        self.latched = welcome.latched;
        let asked = welcome.lease.and_then(|lease| Duration::try_from(lease).ok());
        let length =
            asked.unwrap_or(limits::LEASE).clamp(*limits::LEASE_RANGE.start(), *limits::LEASE_RANGE.end());
        self.lease = Some(match &self.lease {
            Some(lease) => lease.attached_again(length, hello_sent),
            None => Lease::new(length, hello_sent),
        });
        Ok(())
    }

    /// Takes in the epoch of an order.
    ///
    /// # Errors
    /// [`Code::StaleEpoch`]: a newer one has been seen. [`Code::ProtocolViolation`]: it is none.
    pub(crate) fn seen(&mut self, epoch: u64) -> Result<(), Problem> {
        sane(epoch)?;
        if epoch < self.epoch {
            return Err(Problem::new(
                Code::StaleEpoch,
                format!("the order is of epoch {epoch}, epoch {} was seen already", self.epoch),
            )
            .hint("an older run of the server is still there: stop it"));
        }
        self.epoch = epoch;
        Ok(())
    }

    /// A renewal that is answered at `now`.
    ///
    /// # Errors
    /// [`Code::StaleEpoch`]: it is of an older run of the server.
    pub(crate) fn renewed(&mut self, renewal: &LeaseRenewal, now: Duration) -> Result<(), Problem> {
        self.seen(renewal.epoch)?;
        if let Some(lease) = &mut self.lease {
            lease.renewed(renewal, now);
        }
        Ok(())
    }

    /// Whether an order to start something is to be obeyed at `now`.
    ///
    /// # Errors
    /// [`Code::StaleEpoch`], [`Code::Halted`], [`Code::OrderTooLate`].
    pub(crate) fn admits(&mut self, order: &StartAction, now: Duration) -> Result<(), Problem> {
        self.seen(order.epoch)?;
        if self.latched {
            return Err(Problem::new(Code::Halted, "everything is halted").hint("kittyctl resume"));
        }
        let within = order.start_within.and_then(|within| Duration::try_from(within).ok());
        let within = within.unwrap_or_default().min(*limits::LEASE_RANGE.end());
        match &mut self.lease {
            Some(lease) => lease.ordered(order.answered, within, now),
            None => Err(Problem::new(Code::OrderTooLate, "there is no lease, so nothing is started")
                .hint("order it again once the worker answers")),
        }
    }

    /// When everything that is held ends at the latest. Zero: there never was a lease.
    pub(crate) fn lease_until(&self) -> Duration {
        self.lease.as_ref().map(Lease::until).unwrap_or_default()
    }
}

/// Whether there can be a newer epoch.
fn sane(epoch: u64) -> Result<(), Problem> {
    if epoch < limits::SANE_EPOCH {
        return Ok(());
    }
    let what = format!("the server says that it is of epoch {epoch}, and no server comes that far");
    Err(Problem::new(Code::ProtocolViolation, what).hint("see which program listens there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn welcome(server: &str, epoch: u64) -> Welcome {
        let lease = Some(at(15).into());
        Welcome { server_id: server.to_owned(), epoch, lease, ..Default::default() }
    }

    fn order(epoch: u64, answered: u64) -> StartAction {
        StartAction { epoch, answered, start_within: Some(at(5).into()), ..Default::default() }
    }

    fn attached() -> Authority {
        let mut authority = Authority::default();
        authority.welcomed(&welcome("a", 7), at(100)).unwrap();
        authority
    }

    fn code(result: Result<(), Problem>) -> Option<Code> {
        result.err().map(|problem| problem.code)
    }

    #[test]
    fn orders_in_time_of_the_present_epoch_are_obeyed() {
        assert_eq!(code(attached().admits(&order(7, 0), at(101))), None);
    }

    #[test]
    fn an_order_of_an_older_run_of_the_server_is_refused() {
        let mut authority = attached();
        assert_eq!(code(authority.admits(&order(6, 0), at(101))), Some(Code::StaleEpoch));
        assert_eq!(code(authority.welcomed(&welcome("a", 6), at(101))), Some(Code::StaleEpoch));
    }

    #[test]
    fn another_server_begins_anew_with_its_epochs() {
        let mut authority = attached();
        assert_eq!(code(authority.welcomed(&welcome("b", 1), at(101))), None);
        assert_eq!(code(authority.admits(&order(1, 0), at(102))), None);
    }

    #[test]
    fn an_order_that_was_under_way_for_too_long_is_refused() {
        assert_eq!(code(attached().admits(&order(7, 0), at(116))), Some(Code::OrderTooLate));
        assert_eq!(code(Authority::default().admits(&order(7, 0), at(1))), Some(Code::OrderTooLate));
    }

    #[test]
    fn nothing_starts_while_a_halt_is_latched() {
        let mut authority = attached();
        authority.latched = true;
        assert_eq!(code(authority.admits(&order(7, 0), at(101))), Some(Code::Halted));
    }

    #[test]
    fn a_lease_off_the_wire_stays_within_what_can_be_configured() {
        let mut authority = Authority::default();
        let lease = Some(pbjson_types::Duration { seconds: i64::MAX, nanos: i32::MAX });
        authority.welcomed(&Welcome { lease, ..Default::default() }, at(1)).unwrap();
        assert_eq!(authority.lease_until(), at(601));
    }

    #[test]
    fn an_epoch_that_nothing_could_be_newer_than_is_not_remembered() {
        let mut authority = attached();
        assert_eq!(code(authority.welcomed(&welcome("a", u64::MAX), at(101))), Some(Code::ProtocolViolation));
        assert_eq!(code(authority.admits(&order(u64::MAX, 0), at(101))), Some(Code::ProtocolViolation));
        assert_eq!(code(authority.admits(&order(7, 0), at(101))), None);
    }
}
