//! `kittyctl status`

use std::process::ExitCode;

use chaos_kitty::v1::GetStatusRequest;

use crate::{args::Global, failure::Outcome, output::Output, session::Session};

pub(super) async fn run(global: &Global, out: &Output) -> Outcome {
    let session = Session::open(global).await?;
    let status = session.answer(session.client.clone().get_status(GetStatusRequest {})).await?;
    out.status(&status)?;
    Ok(ExitCode::SUCCESS)
}
