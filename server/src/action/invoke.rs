//! Calls that come by a node's stream: a node that can not dial the server asks for an action on any target.

use std::sync::Arc;

use chaos_kitty::{
    Code, Problem,
    v1::{
        Invoke, Invoked,
        invoked::{End, Kind},
    },
};
use futures_util::StreamExt;

use super::Actions;
use crate::{
    fleet::Node,
    task::{self, OnPanic},
};

/// Calls of one node that may go on at a time.
const CALLS: usize = 64;

impl Actions {
    /// Answers a call with each news of its actions, then with its end.
    pub(super) fn call(&self, node: &Arc<Node>, invoke: Invoke) {
        let Invoke { call, request } = invoke;
        let (fleet, this, node) = (self.fleet.clone(), self.this.clone(), node.clone());
        let Some(turn) = node.begin_call(CALLS) else {
            let problem = Problem::new(Code::LimitReached, format!("{CALLS} calls of this node go on"))
                .hint("wait until some are over");
            fleet.invoked(&node, Invoked { call, kind: Some(Kind::Problem(problem.into())) });
            return;
        };
        task::spawn(OnPanic::End, async move {
            let _turn = turn;
            let Some(actions) = this.upgrade() else { return };
            let mut request = request.unwrap_or_default();
            if request.source.is_empty() {
                request.source = node.id().to_owned();
            }
            let updates = actions.unleash(request, String::new()).await;
            drop(actions);
            let end = match updates {
                Err(problem) => Kind::Problem(problem.into()),
                Ok(mut updates) => {
                    while let Some(update) = updates.next().await {
                        if !fleet.invoked(&node, Invoked { call, kind: Some(Kind::Update(update)) }) {
                            return;
                        }
                    }
                    Kind::End(End {})
                }
            };
            fleet.invoked(&node, Invoked { call, kind: Some(end) });
        });
    }
}
