//! Orders to the server, and what comes of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    v1::{
        self, ActionStatus, ListActionsRequest, StopActionRequest, UnleashRequest,
        action_state::Name as State, end_reason::Name as EndReason, unleash_request::Choice,
    },
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{cell::Outcome, host::Host, target::What};

/// Pause before an order is given again.
const AGAIN: Duration = Duration::from_millis(30);

/// Orders that had to be given again because what they brought about was over before its time: on a machine that
/// is slow enough a lease runs out.
pub(crate) static REPEATED: AtomicUsize = AtomicUsize::new(0);

/// An action that was ordered.
pub(crate) struct Order {
    pub(crate) what: What,
    pub(crate) news: watch::Receiver<News>,
    /// It is not given again.
    enough: Arc<AtomicBool>,
}

/// What came of it so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    status: Option<ActionStatus>,
    refusal: Option<String>,
    /// How often it has come into force.
    begun: usize,
}

impl News {
    pub(crate) fn is(&self, state: State) -> bool {
        self.status.as_ref().is_some_and(|status| status.state() == state)
    }

    /// Whether nothing more comes of it.
    pub(crate) fn is_over(&self) -> bool {
        self.refusal.is_some()
            || [State::Failed, State::Refused, State::Reverted].iter().any(|over| self.is(*over))
    }

    fn was_stopped(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.end_reason() == EndReason::Stopped)
    }

    /// The action, once there is one.
    pub(crate) fn id(&self) -> Option<String> {
        self.status.as_ref().map(|status| status.id.clone())
    }
}

/// All that was ordered in one cell.
pub(crate) struct Orders {
    host: Arc<Host>,
    given: Vec<Order>,
    tasks: JoinSet<()>,
}

impl Orders {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host, given: Vec::new(), tasks: JoinSet::new() }
    }

    /// Orders an action, again and again until it is in force or nobody insists.
    pub(crate) fn give(&mut self, what: What, target: String, duration: Duration) {
        self.spawn(what, target, duration, Arc::default());
    }

    /// Orders an action, and takes no for an answer.
    pub(crate) fn try_once(&mut self, what: What, target: String, duration: Duration) {
        self.spawn(what, target, duration, Arc::new(true.into()));
    }

    fn spawn(&mut self, what: What, target: String, duration: Duration, enough: Arc<AtomicBool>) {
        let request = UnleashRequest {
            action: Some(what.action(duration)),
            choice: Some(Choice::Target(target)),
            source: "torture".to_owned(),
            ..Default::default()
        };
        let (told, news) = watch::channel(News::default());
        self.given.retain(|order| order.what != what);
        self.given.push(Order { what, news, enough: Arc::clone(&enough) });
        self.tasks.spawn(follow(Arc::clone(&self.host), request, told, enough));
    }

    /// What was ordered and is not in force by now is not ordered again.
    pub(crate) fn insist_no_more(&self) {
        self.given.iter().for_each(|order| order.enough.store(true, Ordering::Relaxed));
    }

    /// Forgets them; whatever is under way stays so.
    pub(crate) fn forget(&mut self) {
        self.insist_no_more();
        self.given.clear();
    }

    pub(crate) fn given(&self) -> &[Order] {
        &self.given
    }

    /// How often any of them has come into force.
    pub(crate) fn begun(&self) -> usize {
        self.given.iter().map(|order| order.news.borrow().begun).sum()
    }

    pub(crate) fn all_in_force(&self) -> bool {
        self.given.iter().all(|order| order.news.borrow().is(State::Started))
    }

    /// Whether the order of this kind is over, and not because it was asked to end.
    pub(crate) fn was_lost(&self, what: What) -> bool {
        let order = self.given.iter().find(|order| order.what == what);
        order.is_none_or(|order| order.news.borrow().is_over() && !order.news.borrow().was_stopped())
    }

    /// Asks the server to end one, if there is one, which then is not given again.
    pub(crate) fn stop(&mut self, what: What) {
        let Some(order) = self.given.iter().find(|order| order.what == what) else { return };
        order.enough.store(true, Ordering::Relaxed);
        let Some(id) = order.news.borrow().id() else { return };
        let mut client = self.host.client.clone();
        self.tasks.spawn(async move { drop(client.stop_action(StopActionRequest { id }).await) });
    }

    /// Ends whatever the server says to be in force, or on its way there, on these agents' targets. Answers what
    /// there is still, as far as the server is there to ask.
    pub(crate) async fn stop_all(&self, name: &str) -> Outcome<Vec<ActionStatus>> {
        let mut client = self.host.client.clone();
        let request = ListActionsRequest { active_only: true, ..Default::default() };
        let listed = client.list_actions(request).await.map_err(|status| format!("{status:?}"))?;
        let of_cell =
            |status: &ActionStatus| status.target_id.contains(name) || status.target_name.contains(name);
        let active: Vec<_> = listed.into_inner().actions.into_iter().filter(of_cell).collect();
        for status in &active {
            // Over by now, or it is asked again.
            drop(client.stop_action(StopActionRequest { id: status.id.clone() }).await);
        }
        Ok(active)
    }
}

/// Unleashes, as soon as the target is there, and tells what comes of it.
async fn follow(
    host: Arc<Host>,
    request: UnleashRequest,
    told: watch::Sender<News>,
    enough: Arc<AtomicBool>,
) {
    let mut client = host.client.clone();
    loop {
        match client.unleash(request.clone()).await {
            Ok(updates) => {
                let mut updates = updates.into_inner();
                while let Ok(Some(status)) = updates.message().await {
                    told.send_modify(|news| {
                        news.begun +=
                            usize::from(status.state() == State::Started && !news.is(State::Started));
                        news.status = Some(status);
                    });
                }
                if enough.load(Ordering::Relaxed) {
                    return;
                }
                REPEATED.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) if is_early(&status) && !enough.load(Ordering::Relaxed) => {}
            Err(status) => return told.send_modify(|news| news.refusal = Some(format!("{status:?}"))),
        }
        sleep(AGAIN).await;
    }
}

/// Whether an order came before its target was there, or before the fleet has settled, or the server was back.
fn is_early(status: &tonic::Status) -> bool {
    let code = v1::Problem::from(Problem::from(status.clone())).code;
    [
        Code::NoSuchTarget,
        Code::TargetGone,
        Code::AgentUnreachable,
        Code::Settling,
        Code::NotReachable,
        Code::ConnectionLost,
        Code::AlreadyHeld,
    ]
    .iter()
    .any(|early| early.number() == code)
}
