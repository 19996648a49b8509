//! `kittyctl unleash …`

mod request;
mod watch;

use crate::{
    args::{Global, UnleashCommand},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: UnleashCommand, global: &Global, out: &Output) -> Outcome {
    let no_wait = command.choice().no_wait;
    let request = request::request(command, super::source());
    let session = Session::open(global).await?;
    watch::Watch::new(&session, out, no_wait).run(request).await
}
