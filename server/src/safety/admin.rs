//! The administrative state: what the control plane does of its own accord. A halt is the state ABORT with a latch.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use chaos_kitty::{
    Code, Problem, Timestamp,
    bounds::brief,
    v1::{
        AdminStateResponse, SetAdminStateRequest,
        admin_state::Name,
        event::{self, AdminStateChanged},
    },
};

use super::Gate;
use crate::{event::Bus, store::Store, task::lock};

/// Its key in the store.
const KEY: &str = "admin_state";

/// See the module.
pub struct Admin {
    gate: Arc<Gate>,
    store: Store,
    bus: Arc<Bus>,
    state: Mutex<(Name, SystemTime)>,
}

impl Admin {
    /// As an earlier start of the server left it; STARTED where there was none. Halted, and PAUSED after that, where it
    /// can not be read.
    ///
    /// # Errors
    /// The store can not be read.
    pub async fn open(gate: Arc<Gate>, store: Store, bus: Arc<Bus>) -> Result<Arc<Self>, Problem> {
        let stored = match store.value::<AdminStateResponse>(KEY).await {
            Err(problem) if problem.code == Code::Unreadable => {
                // It may have forbidden something: nothing goes on by itself until somebody says so.
                if let Err(problem) = gate.halt("the administrative state can not be read") {
                    tracing::error!(%problem, "the halt would not survive a restart");
                }
                Some(response(Name::Paused, false, SystemTime::now()))
            }
            stored => stored?,
        };
        let since = stored.as_ref().and_then(|stored| stored.since?.system_time());
        let state = stored.map_or(Name::Started, |stored| stored.state());
        let state = Mutex::new((state, since.unwrap_or_else(SystemTime::now)));
        Ok(Arc::new(Self { gate, store, bus, state }))
    }

    /// The state, as it works: ABORT while halted.
    pub fn get(&self) -> AdminStateResponse {
        let (state, since) = *self.state();
        match self.gate.halted_at() {
            Some(halted) => response(Name::Abort, true, halted),
            None => response(state, false, since),
        }
    }

    /// Sets it. What it forbids is forbidden at once, even if the store can not be written.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`], [`Code::Halted`]; [`Code::StoreUnavailable`]: it is set, but would not survive a
    /// restart.
    pub async fn set(&self, request: SetAdminStateRequest) -> Result<AdminStateResponse, Problem> {
        let SetAdminStateRequest { source, .. } = &request;
        let state = Name::try_from(request.state).ok().filter(|state| *state != Name::Starting);
        let Some(state) = state else {
            return Err(Problem::invalid("state", "it is none that can be set")
                .hint("one of STARTED, PAUSED, DRAIN, ABORT"));
        };
        if self.gate.halted_at().is_some() {
            return Err(Problem::new(Code::Halted, "the fleet is halted, which is a state of its own")
                .hint("kittyctl resume ends the halt"));
        }
        let now = SystemTime::now();
        *self.state() = (state, now);
        tracing::warn!(state = state.as_str_name(), source = brief(source), "administrative state");
        let changed = AdminStateChanged { state: state.into(), source: source.clone() };
        let message = format!("the administrative state is {}", state.as_str_name());
        self.bus.publish(event::Kind::AdminState(changed), message);
        let answer = response(state, false, now);
        self.store.put_value(KEY, &answer).await?;
        Ok(answer)
    }

    /// Whether something new may be begun of the control plane's own accord.
    ///
    /// # Errors
    /// [`Code::Halted`], [`Code::NotAdmitted`].
    pub fn admits(&self) -> Result<(), Problem> {
        let now = self.get();
        if now.halted {
            return Err(Problem::new(Code::Halted, "the fleet is halted: nothing is admitted")
                .hint("kittyctl resume ends the halt"));
        }
        if now.state() == Name::Started {
            return Ok(());
        }
        let state = now.state().as_str_name();
        Err(Problem::new(Code::NotAdmitted, format!("the administrative state {state} admits nothing new"))
            .hint("kittyctl admin state STARTED"))
    }

    fn state(&self) -> MutexGuard<'_, (Name, SystemTime)> {
        lock(&self.state)
    }
}

fn response(state: Name, halted: bool, since: SystemTime) -> AdminStateResponse {
    AdminStateResponse { state: state.into(), halted, since: Some(Timestamp::from(since)) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        fleet::{self, Fleet},
        safety::Limits,
    };

    fn gate(store: &Store) -> Arc<Gate> {
        let times = fleet::Settings {
            lease: Duration::from_secs(15),
            start_timeout: Duration::from_secs(5),
            survivor_window: Duration::from_secs(600),
        };
        let bus = Arc::new(Bus::default());
        let (fleet, dispatcher) = Fleet::new(times, store.clone(), bus, 1, Default::default());
        Gate::new(fleet, dispatcher, Limits::default(), None).unwrap()
    }

    async fn admin(store: &Store) -> Arc<Admin> {
        Admin::open(gate(store), store.clone(), Arc::default()).await.unwrap()
    }

    fn to(state: Name) -> SetAdminStateRequest {
        SetAdminStateRequest { state: state.into(), source: "test".to_owned() }
    }

    #[tokio::test]
    async fn it_is_started_at_first_and_kept_for_the_next_start() {
        let store = Store::in_memory().unwrap();
        let admin_now = admin(&store).await;
        assert_eq!(admin_now.get().state(), Name::Started);
        assert!(admin_now.admits().is_ok());
        let set = admin_now.set(to(Name::Paused)).await.unwrap();
        assert_eq!(admin_now.admits().unwrap_err().code, Code::NotAdmitted);
        assert_eq!(admin(&store).await.get(), set);
    }

    #[tokio::test]
    async fn a_halt_is_abort_until_it_is_resumed() {
        let store = Store::in_memory().unwrap();
        let admin = admin(&store).await;
        admin.gate.halt("fire").unwrap();
        let halted = admin.get();
        assert!(halted.state() == Name::Abort && halted.halted);
        assert_eq!(admin.set(to(Name::Started)).await.unwrap_err().code, Code::Halted);
        assert_eq!(admin.admits().unwrap_err().code, Code::Halted);
        admin.gate.resume().unwrap();
        assert_eq!(admin.get().state(), Name::Started);
    }

    #[tokio::test]
    async fn what_can_not_be_set_is_refused() {
        let admin = admin(&Store::in_memory().unwrap()).await;
        for state in [Name::Starting as i32, 77] {
            let request = SetAdminStateRequest { state, source: String::new() };
            assert_eq!(admin.set(request).await.unwrap_err().code, Code::InvalidArgument);
        }
    }
}
