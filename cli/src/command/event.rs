//! `kittyctl event …`

use std::process::ExitCode;

use chaos_kitty::v1::WatchEventsRequest;

use crate::{
    args::{EventCommand, Global},
    failure::Outcome,
    output::Output,
    session::Session,
};

/// Prints events until the server ends the stream, `--timeout` is over, or somebody interrupts.
pub(super) async fn run(command: EventCommand, global: &Global, out: &Output) -> Outcome {
    let EventCommand::Watch { kinds } = command;
    let session = Session::open(global).await?;
    let watch = async {
        let mut events =
            session.answer(session.client.clone().watch_events(WatchEventsRequest { kinds })).await?;
        while let Some(event) = events.message().await? {
            out.event(&event)?;
        }
        Ok(ExitCode::SUCCESS)
    };
    match session.timeout() {
        // Whoever limits a watch wants what came until then.
        Some(limit) => tokio::time::timeout(limit, watch).await.unwrap_or(Ok(ExitCode::SUCCESS)),
        None => watch.await,
    }
}
