//! `kittyctl platform …`

use std::process::ExitCode;

use chaos_kitty::v1::ListPlatformsRequest;

use crate::{
    args::{Global, PlatformCommand},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: &PlatformCommand, global: &Global, out: &Output) -> Outcome {
    let PlatformCommand::List = command;
    let session = Session::open(global).await?;
    let response = session.answer(session.client.clone().list_platforms(ListPlatformsRequest {})).await?;
    out.list(&response, &response.platforms)?;
    Ok(ExitCode::SUCCESS)
}
