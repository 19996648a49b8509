//! How a command can fail.

use std::{io, process::ExitCode};

use chaos_kitty::{Code, Problem};

use crate::output::Output;

/// What a command ends with: an exit code, or why it could not do its work.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Problem(#[from] Problem),
    /// Standard output could not be written.
    #[error("writing to standard output: {0}")]
    Write(#[from] io::Error),
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Problem(status.into())
    }
}

impl Failure {
    /// Says it, and gives the exit code. A reader that went away (`kittyctl … | head`) has all it wanted.
    pub(crate) fn tell(&self, out: &Output) -> ExitCode {
        match self {
            Self::Problem(problem) => {
                out.problem(problem);
                ExitCode::from(problem.code.exit())
            }
            Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Write(_) => {
                let problem = Problem::new(Code::Internal, self.to_string());
                out.problem(&problem.hint("check what standard output is connected to, and the space there"));
                ExitCode::FAILURE
            }
        }
    }
}
