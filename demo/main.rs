//! `cargo demo`: one build of everything that `kittyctl demo` shows, then `kittyctl demo` itself.
//!
//! It depends on nothing, so that it is there at once. What it calls has the features that `cargo build --workspace
//! --bins --examples` gives it, the command of README's tour: whoever does one finds most of the other built.

use std::{
    env,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(why) => {
            // Nowhere to print to is no reason for another exit code.
            let _ = writeln!(io::stderr(), "cargo demo: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Builds, and becomes `kittyctl demo`.
fn run() -> Result<ExitCode, String> {
    let here = env::current_exe().map_err(|error| format!("looking for this program itself: {error}"))?;
    let folder = here.parent().unwrap_or(Path::new("."));
    let workspace = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let workspace = workspace.as_deref().and_then(Path::parent).ok_or("run it by cargo in the workspace")?;
    let status = build(workspace, folder).status().map_err(|error| format!("starting cargo: {error}"))?;
    if !status.success() {
        return Err(format!("building with cargo: {status}"));
    }
    let kittyctl = folder.join("kittyctl");
    let error = Command::new(&kittyctl).arg("demo").args(env::args_os().skip(1)).exec();
    Err(format!("starting {}: {error}", kittyctl.display()))
}

/// With the profile and into the folder of this program; cargo tells what it does.
fn build(workspace: &Path, folder: &Path) -> Command {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace).args(["build", "--workspace", "--bins", "--example", "shop"]);
    command.args(["--profile", profile]);
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    command
}
