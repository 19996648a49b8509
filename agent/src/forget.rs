//! `kitty-agent forget-server`: the owner of the host undoes what a wrong server made the agent remember.

use std::io::{self, Write};

use chaos_kitty::{Code, Problem};

use crate::{config::Config, state::State};

/// Does it, and says what was forgotten.
///
/// # Errors
/// An agent uses the state folder, or it can not be written.
pub(crate) fn run(config: &Config) -> Result<(), Problem> {
    let folder = config.args.state_folder();
    let state = State::open(&folder).map_err(|problem| match problem.code {
        Code::InUse => problem.hint("stop the agent, and start it again afterwards"),
        _ => problem,
    })?;
    let seen = state.seen()?;
    state.forget_server(&seen).map_err(|error| {
        Problem::new(Code::Usage, format!("state folder {}: {error}", folder.display()))
            .hint("run it as the user that the agent runs as")
    })?;
    let told = match seen.server_id.as_str() {
        "" => "no server was remembered".to_owned(),
        id => format!("forgot the server {} of epoch {}", id.escape_debug(), seen.epoch),
    };
    let halted = if seen.latched { "; its halt holds until a server resumes" } else { "" };
    let _ = writeln!(io::stdout(), "{told}{halted}");
    Ok(())
}
