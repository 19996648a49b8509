//! The programs that the demo shows: built in the workspace, else those beside this one.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use chaos_kitty::{Code, Problem};
use tokio::process::Command;

use crate::output::Output;

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) server: PathBuf,
    pub(super) agent: PathBuf,
    pub(super) shop: PathBuf,
}

/// Builds the programs when cargo runs this in the workspace, and finds them.
///
/// # Errors
/// The build fails, or a program is missing.
pub(super) async fn programs(out: &Output) -> Result<Programs, Problem> {
    let here = env::current_exe()
        .map_err(|error| Problem::new(Code::Internal, format!("looking for this program itself: {error}")))?;
    let folder = here.parent().unwrap_or(Path::new("."));
    if let Some(workspace) = workspace() {
        build(&workspace, folder, out).await?;
    }
    find(folder)
}

/// The workspace, when cargo runs this (`cargo demo`, `cargo run`, a test).
fn workspace() -> Option<PathBuf> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    let root = package.parent()?;
    root.join("worker/examples/shop.rs").is_file().then(|| root.to_owned())
}

/// With the profile and into the folder of this program.
async fn build(workspace: &Path, folder: &Path, out: &Output) -> Result<(), Problem> {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    out.say(&format!("building kittyd, kitty-agent, kitty-guard and the example service ({profile})"));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--profile", profile, "--bins", "--example", "shop"]);
    for package in ["server", "agent", "guard", "worker"] {
        command.args(["--package", &format!("chaos-kitty-{package}")]);
    }
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Problem::new(Code::Internal, format!("building with cargo: {status}"))),
        Err(error) => Err(Problem::new(Code::MissingDependency, format!("starting cargo: {error}"))),
    }
}

/// Siblings of this program; examples have a folder of their own where cargo built them.
fn find(folder: &Path) -> Result<Programs, Problem> {
    let program = |name: &str| {
        let places = [folder.join(name), folder.join("examples").join(name)];
        places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
            Problem::new(
                Code::MissingDependency,
                format!("{name} is not beside kittyctl in {}", folder.display()),
            )
            .hint("run `cargo demo` in the workspace, which builds everything")
        })
    };
    program("kitty-guard")?;
    Ok(Programs { server: program("kittyd")?, agent: program("kitty-agent")?, shop: program("shop")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let problem = find(folder.path()).expect_err("it is empty");
        assert!(problem.message.contains("kitty-guard") && problem.hint.contains("cargo demo"), "{problem}");
    }
}
