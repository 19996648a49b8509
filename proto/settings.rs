//! Settings of a program in layers: default < file < `KITTY_*` variable < flag.
//!
//! The clap command is the single source. Every long flag `--tls-cert` is also the variable
//! `KITTY_TLS_CERT` and the key `tls-cert` of the TOML file that `--config` names; sections may group keys
//! (`[tls]` with `cert = …`), an array is a flag that is repeated. All mistakes of a file are reported at
//! once, with their lines. `--dump-config` prints the settings in force, as such a file.

mod dump;
mod file;

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Arg, ArgAction, Command, Parser, error::ErrorKind, value_parser};

use self::file::{File, Mistake};
use crate::{text, variables};

const CONFIG: &str = "config";
const DUMP: &str = "dump-config";

/// What a program was told.
#[derive(Debug)]
pub struct Loaded<Args> {
    /// Its flags, whichever layer they came from.
    pub args: Args,
    file: Option<File>,
}

/// A table of the file that is no flag.
#[derive(Debug)]
pub struct Entry<T> {
    /// Where it begins, as `FILE:LINE`, for messages about its values.
    pub place: String,
    /// What it says.
    pub value: T,
}

/// Why a program does not go on: a mistake, or it was asked only for its help, version or settings.
#[derive(Debug)]
pub enum SettingsError {
    /// The command line, or a variable; also `--help` and `--version`.
    CommandLine(clap::Error),
    /// Everything that is wrong with the file, one per line as `FILE:LINE: …`.
    File(Vec<String>),
    /// `--dump-config`: the settings as TOML. Not an error.
    Dump(String),
}

/// Reads the command line, the environment and the file. `reserved` names top-level keys of the file that
/// are no flags; they are read with [`Loaded::tables`].
///
/// # Errors
/// See [`SettingsError`]; [`SettingsError::report`] prints it.
pub fn load<Args: Parser>(reserved: &[&str]) -> Result<Loaded<Args>, SettingsError> {
    load_from(std::env::args_os().collect(), reserved)
}

/// As [`load`], with this command line (the program's name first).
///
/// # Errors
/// As [`load`].
pub fn load_from<Args: Parser>(
    line: Vec<OsString>,
    reserved: &[&str],
) -> Result<Loaded<Args>, SettingsError> {
    let described = with_variables(Args::command());
    warn_of_variables(&described);
    let mut command = described.clone();
    let file = match config_path(&command, &line)? {
        None => None,
        Some(path) => {
            let (file, values) = File::read(path, &command, reserved).map_err(mistakes)?;
            command = values.into_iter().fold(command, file::Values::below);
            Some(file)
        }
    };
    let matches = command.clone().try_get_matches_from(line)?;
    if matches.get_flag(DUMP) {
        let tables = file.as_ref().map(|file| file.reserved(reserved)).unwrap_or_default();
        return Err(SettingsError::Dump(dump::toml(&described, &matches, tables)));
    }
    Ok(Loaded { args: Args::from_arg_matches(&matches)?, file })
}

impl<Args> Loaded<Args> {
    /// The tables under a reserved key: one for `[key]`, several for `[[key]]`, none where it is absent.
    ///
    /// # Errors
    /// [`SettingsError::File`], one mistake for each table that is not a `T`.
    pub fn tables<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Vec<Entry<T>>, SettingsError> {
        self.file.as_ref().map_or(Ok(Vec::new()), |file| file.tables(key).map_err(mistakes))
    }
}

fn mistakes(mut mistakes: Vec<Mistake>) -> SettingsError {
    mistakes.sort_by_key(|mistake| mistake.line);
    SettingsError::File(mistakes.iter().map(Mistake::to_string).collect())
}

/// The command with `--config`, `--dump-config`, and a variable for each long flag that names none.
fn with_variables(command: Command) -> Command {
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .global(true)
        .help("Read settings from this TOML file; each key is the name of a flag");
    let dump = Arg::new(DUMP)
        .long(DUMP)
        .action(ArgAction::SetTrue)
        .help("Print the settings in force as a TOML file, and exit");
    command.arg(config).arg(dump).mut_args(|arg| {
        let named = arg.get_long().map(|long| format!("KITTY_{}", long.replace('-', "_").to_uppercase()));
        match named {
            Some(variable) if arg.get_env().is_none() && arg.get_id() != DUMP => arg.env(variable),
            _ => arg,
        }
    })
}

/// Says what of the environment has no effect, before there is a log.
fn warn_of_variables(command: &Command) {
    let variables = command.get_arguments().filter_map(Arg::get_env);
    let known: Vec<String> = variables.map(|name| name.to_string_lossy().into_owned()).collect();
    for sentence in variables::not_honoured(&known, variables::of_this_process()) {
        // Nowhere to print to is no reason not to start.
        let _ = writeln!(io::stderr(), "{}: warning: {}", command.get_name(), text::printable(&sentence));
    }
}

/// The file to read, found before anything else is judged: what is missing on the command line may be there.
fn config_path(command: &Command, line: &[OsString]) -> Result<Option<PathBuf>, SettingsError> {
    match command.clone().try_get_matches_from(line) {
        Ok(matches) => Ok(matches.get_one(CONFIG).cloned()),
        Err(error) if matches!(error.kind(), ErrorKind::MissingRequiredArgument) => {
            let lenient = command.clone().mut_args(|arg| arg.required(false));
            Ok(lenient.try_get_matches_from(line)?.get_one(CONFIG).cloned())
        }
        Err(error) => Err(error.into()),
    }
}

impl From<clap::Error> for SettingsError {
    fn from(error: clap::Error) -> Self {
        Self::CommandLine(error)
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(error) => write!(f, "{error}"),
            Self::File(lines) => write!(f, "{}", lines.join("\n")),
            Self::Dump(text) => write!(f, "{text}"),
        }
    }
}

impl std::error::Error for SettingsError {}

impl SettingsError {
    /// Prints it where it belongs, and says how the program ends: 0 when it only was to print, else 2.
    pub fn report(&self) -> ExitCode {
        let (printed, code) = match self {
            Self::CommandLine(error) => (print(error), u8::from(error.use_stderr()) * 2),
            Self::File(lines) => (writeln!(io::stderr(), "{}", text::lines(&lines.join("\n"))), 2),
            Self::Dump(text) => (write!(io::stdout(), "{text}"), 0),
        };
        // Nowhere to print to is no reason for another exit code.
        drop(printed);
        code.into()
    }
}

/// As clap does it, but for what an argument could do to a terminal.
fn print(error: &clap::Error) -> io::Result<()> {
    if !error.use_stderr() {
        return error.print();
    }
    write!(io::stderr(), "{}", text::lines(&error.render().to_string()))
}

/// Whether the flag takes no value: it is there or not.
fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse)
}

/// Whether the flag may be given several times.
fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append) || arg.get_num_args().is_some_and(|n| n.max_values() > 1)
}

/// Whether the flag is a setting, and not one of those that only act.
fn is_setting(arg: &Arg) -> bool {
    let acts = matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    );
    arg.get_long().is_some() && !acts && arg.get_id() != CONFIG && arg.get_id() != DUMP
}

#[cfg(test)]
mod tests;
