//! `kittyctl event …`

use std::{process::ExitCode, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{EventPosition, WatchEventsRequest, event::Kind},
};
use tokio::time::sleep;

use crate::{
    args::{EventCommand, Global},
    failure::{Failure, Outcome},
    output::Output,
    session::Session,
};

/// From a lost connection to the next attempt, and how many attempts are made in vain.
const RETRY: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 60;

/// Prints events until the server ends the stream, `--timeout` is over, or somebody interrupts.
pub(super) async fn run(command: EventCommand, global: &Global, out: &Output) -> Outcome {
    let EventCommand::Watch { kinds } = command;
    let session = Session::open(global).await?;
    let watch = async {
        let (mut at, mut in_vain) = (EventPosition::default(), 0);
        loop {
            let before = at;
            match watch(&session, &kinds, &mut at, out).await {
                Err(Failure::Problem(lost)) if lost.code == Code::ConnectionLost && in_vain < ATTEMPTS => {
                    in_vain = if at == before { in_vain + 1 } else { 1 };
                    if in_vain == 1 {
                        out.say(&format!("{}; asking again", lost.message));
                    }
                    sleep(RETRY).await;
                }
                Err(failure) => return Err(failure),
                Ok(()) => return Ok(ExitCode::SUCCESS),
            }
        }
    };
    match session.timeout() {
        // Whoever limits a watch wants what came until then.
        Some(limit) => tokio::time::timeout(limit, watch).await.unwrap_or(Ok(ExitCode::SUCCESS)),
        None => watch.await,
    }
}

/// On one connection, from where an earlier one ended.
async fn watch(
    session: &Session,
    kinds: &[String],
    at: &mut EventPosition,
    out: &Output,
) -> Result<(), Failure> {
    let request = WatchEventsRequest { kinds: kinds.to_vec(), after: Some(*at) };
    let mut events = session.answer(session.client.clone().watch_events(request)).await?;
    while let Some(event) = events.message().await.map_err(Problem::of_stream)? {
        let (earlier, sequence) = (*at, event.sequence);
        at.sequence = sequence;
        if let Some(Kind::Heartbeat(beat)) = event.kind {
            at.epoch = beat.epoch;
            if let Some(gap) = gap(earlier, *at, beat.missed) {
                out.say(&gap);
            }
        } else {
            out.event(&event)?;
        }
    }
    Ok(())
}

/// What was not seen between two connections.
fn gap(earlier: EventPosition, now: EventPosition, missed: u64) -> Option<String> {
    match (earlier.epoch, missed) {
        (0, _) => None,
        (epoch, _) if epoch != now.epoch => {
            Some("the server was started anew; what happened in between was not seen".to_owned())
        }
        (_, 0) => None,
        (_, missed) => Some(format!("watching again; {missed} events in between were not seen")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_between_two_connections_is_said() {
        let at = |epoch, sequence| EventPosition { epoch, sequence };
        assert_eq!(gap(at(0, 0), at(7, 30), 0), None, "the first one");
        assert_eq!(gap(at(7, 30), at(7, 30), 0), None);
        assert!(gap(at(7, 30), at(7, 33), 3).unwrap().contains("3 events"));
        assert!(gap(at(7, 30), at(8, 2), 0).unwrap().contains("started anew"));
    }
}
