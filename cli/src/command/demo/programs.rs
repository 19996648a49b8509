//! The programs that the demo shows: those beside this one.

use std::{
    env,
    path::{Path, PathBuf},
};

use chaos_kitty::{Code, Problem};

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) server: PathBuf,
    pub(super) agent: PathBuf,
    pub(super) shop: PathBuf,
}

/// Finds the programs beside this one.
///
/// # Errors
/// One is missing.
pub(super) fn programs() -> Result<Programs, Problem> {
    let here = env::current_exe()
        .map_err(|error| Problem::new(Code::Internal, format!("looking for this program itself: {error}")))?;
    find(here.parent().unwrap_or(Path::new(".")))
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
