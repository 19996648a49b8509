//! `kittyctl status`

use std::process::ExitCode;

use chaos_kitty::v1::{GetStatusRequest, ListExperimentsRequest};

use crate::{
    args::{Format, Global},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(global: &Global, out: &Output) -> Outcome {
    let session = Session::open(global).await?;
    let status = session.answer(session.client.clone().get_status(GetStatusRequest {})).await?;
    out.view(&status)?;
    if status.experiments > 0 && out.format() == Format::Table {
        let list = ListExperimentsRequest::default();
        let running = session.answer(session.client.clone().list_experiments(list)).await?;
        out.raw("\n")?;
        out.list(&running, &running.experiments)?;
    }
    Ok(ExitCode::SUCCESS)
}
