//! `kittyctl platform …`

use std::process::ExitCode;

use chaos_kitty::v1::{ListPlatformsRequest, ListPlatformsResponse};

use super::pages;

use crate::{
    args::{Global, PlatformCommand},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: &PlatformCommand, global: &Global, out: &Output) -> Outcome {
    let PlatformCommand::List = command;
    let session = Session::open(global).await?;
    let platforms = pages::all(async |page_size, page_token| {
        let request = ListPlatformsRequest { page_size, page_token };
        let page = session.answer(session.client.clone().list_platforms(request)).await?;
        Ok((page.platforms, page.next_page_token))
    })
    .await?;
    let response = ListPlatformsResponse { platforms, ..Default::default() };
    out.list(&response, &response.platforms)?;
    Ok(ExitCode::SUCCESS)
}
