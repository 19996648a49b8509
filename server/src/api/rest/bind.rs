//! The table of paths: each is bound to the call of the service that it stands for, once for the router and for
//! the OpenAPI document.

use std::sync::Arc;

use axum::{Router, routing::MethodRouter};

/// A path with one of its methods.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// The call behind it, by its name in the contract. Empty: there is none, or several.
    pub(super) call: &'static str,
    /// What it does, where the contract does not say.
    pub(super) about: &'static str,
    pub(super) asks: Asks,
    pub(super) answers: Shape,
}

/// What comes with a request besides what is in the path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asks {
    /// The fields of the call's message: in the query, or in the body where the method has one.
    Message,
    /// These fields, in the query or in a form.
    Fields(&'static [(&'static str, FieldKind)]),
    /// This message in the body.
    Body(&'static str),
    /// The call's message in the body, and these fields in the query.
    Both(&'static [(&'static str, FieldKind)]),
}

/// How a field of a query or form is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldKind {
    Word,
    Words,
    Switch,
    /// e.g. `PT15M`.
    Duration,
}

/// What the body of an answer is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// The call's answer, in proto JSON.
    Message,
    /// This message.
    One(&'static str),
    /// A bare list of these messages.
    List(&'static str),
    /// A bare map from the first to messages of the second.
    Map(&'static str, &'static str),
    /// A bare map to lists of words.
    WordLists,
    /// A bare map to numbers.
    Numbers,
    /// A bare map to words.
    WordMap,
    /// A bare list of words.
    WordList,
    /// One of these words, quoted.
    Word(&'static [&'static str]),
    /// One word, bare.
    BareWord,
    Switch,
    /// An object with a list of the second under the first.
    Field(&'static str, &'static str),
    /// Server-sent events.
    Events,
    /// Any JSON object.
    Object,
    Page,
    Nothing,
    /// It always refuses, with this status.
    Refusal(u16),
}

/// A binding of a call.
pub(super) const fn call(method: &'static str, path: &'static str, call: &'static str) -> Binding {
    Binding { method, path, call, about: "", asks: Asks::Message, answers: Shape::Message }
}

/// A path without a call of its own.
pub(super) const fn path(
    method: &'static str,
    path: &'static str,
    about: &'static str,
    answers: Shape,
) -> Binding {
    Binding { method, path, call: "", about, asks: Asks::Fields(&[]), answers }
}

impl Binding {
    pub(super) const fn answers(mut self, answers: Shape) -> Self {
        self.answers = answers;
        self
    }

    pub(super) const fn asks(mut self, asks: Asks) -> Self {
        self.asks = asks;
        self
    }

    pub(super) const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }
}

/// Paths with their handlers.
pub(super) struct Routes<C> {
    pub(super) router: Router<Arc<C>>,
    pub(super) table: Vec<Binding>,
}

impl<C: Send + Sync + 'static> Routes<C> {
    pub(super) fn new() -> Self {
        Self { router: Router::new(), table: Vec::new() }
    }

    /// Binds one more.
    pub(super) fn with(mut self, binding: Binding, handler: MethodRouter<Arc<C>>) -> Self {
        self.router = self.router.route(binding.path, handler);
        self.table.push(binding);
        self
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.table.extend(other.table);
        self
    }
}
