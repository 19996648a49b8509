//! `kittyctl schedule …`

use std::process::ExitCode;

use chaos_kitty::v1::{GetScheduleRequest, UpdateScheduleRequest};

use crate::{
    args::{Global, ScheduleCommand},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: ScheduleCommand, global: &Global, out: &Output) -> Outcome {
    let session = Session::open(global).await?;
    let mut client = session.client.clone();
    let schedule = match update(&command) {
        Some(update) => session.answer(client.update_schedule(update)).await?,
        None => session.answer(client.get_schedule(GetScheduleRequest {})).await?,
    };
    out.view(&schedule)?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be changed. `None`: nothing.
fn update(command: &ScheduleCommand) -> Option<UpdateScheduleRequest> {
    match command {
        ScheduleCommand::Show => None,
        ScheduleCommand::On => Some(UpdateScheduleRequest { automated: Some(true), backoff: None }),
        ScheduleCommand::Off => Some(UpdateScheduleRequest { automated: Some(false), backoff: None }),
        ScheduleCommand::Backoff { duration } => {
            Some(UpdateScheduleRequest { automated: None, backoff: Some((*duration).into()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_leaves_the_rest_of_the_schedule_as_it_is() {
        assert_eq!(update(&ScheduleCommand::Show), None);
        let on = update(&ScheduleCommand::On).unwrap();
        assert_eq!((on.automated, on.backoff), (Some(true), None));
        let off = update(&ScheduleCommand::Off).unwrap();
        assert_eq!((off.automated, off.backoff), (Some(false), None));
        let backoff = update(&ScheduleCommand::Backoff { duration: Duration::from_secs(900) }).unwrap();
        assert_eq!((backoff.automated, backoff.backoff), (None, Some(Duration::from_secs(900).into())));
    }
}
