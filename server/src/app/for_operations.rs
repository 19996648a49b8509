//! What operations see of the rest.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Problem,
    v1::{ActionStatus, Selector, UnleashRequest, event},
};
use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use crate::{
    action::Actions,
    event::{Bus, Watch},
    fleet::Fleet,
    operation::{Port, RosterChange},
    safety::{Admin, Gate},
};

/// See the module.
pub(super) struct ForOperations {
    pub(super) fleet: Arc<Fleet>,
    pub(super) gate: Arc<Gate>,
    pub(super) actions: Arc<Actions>,
    pub(super) admin: Arc<Admin>,
    pub(super) bus: Arc<Bus>,
}

impl Port for ForOperations {
    fn roster(&self) -> BoxStream<'static, RosterChange> {
        let (fleet, bus) = (self.fleet.clone(), self.bus.clone());
        stream::unfold(None, move |watch| {
            let (fleet, bus) = (fleet.clone(), bus.clone());
            async move { next_change(&fleet, &bus, watch).await }
        })
        .boxed()
    }

    fn under_fault(&self, target_id: &str) -> bool {
        self.gate.is_under_fault(target_id)
    }

    fn longest_fault(&self) -> Duration {
        self.actions.longest()
    }

    fn unleash(
        &self,
        request: UnleashRequest,
    ) -> BoxFuture<'static, Result<BoxStream<'static, ActionStatus>, Problem>> {
        let (actions, admin) = (self.actions.clone(), self.admin.clone());
        Box::pin(async move {
            admin.admits()?;
            Ok(actions.unleash(request, String::new()).await?.boxed())
        })
    }

    fn emit(&self, kind: event::Kind, message: String) {
        self.bus.publish(kind, message);
    }
}

/// The next change of the roster; all of it at first, and after changes were missed.
async fn next_change(
    fleet: &Fleet,
    bus: &Bus,
    watch: Option<Watch>,
) -> Option<(RosterChange, Option<Watch>)> {
    if let Some(mut watch) = watch {
        match watch.next().await {
            Some(Ok(event)) => {
                let change = match event.kind.clone() {
                    Some(event::Kind::TargetAdded(target) | event::Kind::TargetChanged(target)) => {
                        RosterChange::Upserted(Arc::new(target))
                    }
                    Some(event::Kind::TargetRemoved(target)) => RosterChange::Removed(target.id),
                    _ => return None,
                };
                return Some((change, Some(watch)));
            }
            // It fell behind: all of it again.
            Some(Err(_)) => {}
            None => return None,
        }
    }
    // Watched before it is listed, so that nothing is missed in between.
    let kinds = ["target_added", "target_changed", "target_removed"].map(str::to_owned);
    let watch = bus.watch(&kinds).ok()?;
    let all = fleet.roster(&Selector::default()).ok()?;
    Some((RosterChange::All(all), Some(watch)))
}
