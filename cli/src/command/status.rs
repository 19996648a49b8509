//! `kittyctl status`

use std::process::ExitCode;

use chaos_kitty::v1::{GetStatusRequest, ListExperimentsRequest, ListExperimentsResponse};

use super::pages;

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
        let experiments = pages::all(async |page_size, page_token| {
            let request = ListExperimentsRequest { all: false, page_size, page_token };
            let page = session.answer(session.client.clone().list_experiments(request)).await?;
            Ok((page.experiments, page.next_page_token))
        })
        .await?;
        let running = ListExperimentsResponse { experiments, ..Default::default() };
        out.raw("\n")?;
        out.list(&running, &running.experiments)?;
    }
    Ok(ExitCode::SUCCESS)
}
