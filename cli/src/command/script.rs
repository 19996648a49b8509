//! `kittyctl script …`

use std::process::ExitCode;

use chaos_kitty::v1::{GetScriptRequest, ListScriptsRequest, ListScriptsResponse};

use super::pages;

use crate::{
    args::{Format, Global, ScriptCommand},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: ScriptCommand, global: &Global, out: &Output) -> Outcome {
    let session = Session::open(global).await?;
    let mut client = session.client.clone();
    match command {
        ScriptCommand::List => {
            let scripts = pages::all(async |page_size, page_token| {
                let request = ListScriptsRequest { page_size, page_token };
                let page = session.answer(session.client.clone().list_scripts(request)).await?;
                Ok((page.scripts, page.next_page_token))
            })
            .await?;
            let response = ListScriptsResponse { scripts, ..Default::default() };
            out.list(&response, &response.scripts)?;
        }
        ScriptCommand::Show { name } => {
            let script = session.answer(client.get_script(GetScriptRequest { name })).await?;
            match out.format() {
                Format::Table => out.content(&script.content)?,
                _ => out.one(&script)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
