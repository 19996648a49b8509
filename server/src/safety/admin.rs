//! The administrative state: what the control plane does of its own accord. A halt is the state ABORT with a latch.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{
        AdminStateResponse, SetAdminStateRequest,
        admin_state::Name,
        event::{self, AdminStateChanged},
    },
};

use super::Gate;
use crate::{event::Bus, store::Store};

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
    /// As an earlier start of the server left it; STARTED where there was none.
    ///
    /// # Errors
    /// The store can not be read.
    pub async fn open(gate: Arc<Gate>, store: Store, bus: Arc<Bus>) -> Result<Arc<Self>, Problem> {
        let stored = store.value::<AdminStateResponse>(KEY).await?;
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
        tracing::warn!(state = state.as_str_name(), source, "administrative state");
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
            .hint("kittyctl admin set STARTED"))
    }

    fn state(&self) -> MutexGuard<'_, (Name, SystemTime)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn response(state: Name, halted: bool, since: SystemTime) -> AdminStateResponse {
    AdminStateResponse { state: state.into(), halted, since: Some(Timestamp::from(since)) }
}
