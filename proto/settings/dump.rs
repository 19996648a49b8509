//! Settings in force, as a file that can be read back.

use std::fmt::Write;

use clap::{Arg, ArgMatches, Command};
use toml::Value;

use super::{is_list, is_setting, is_switch};

/// All settings that have a value, in the order of the help, then the reserved tables. A list that is both is
/// one array.
pub(super) fn toml(command: &Command, matches: &ArgMatches, mut reserved: toml::Table) -> String {
    let mut text = String::new();
    for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
        let (Some(long), Some(value)) = (arg.get_long(), value(arg, matches)) else { continue };
        if let (Some(Value::Array(tables)), Value::Array(values)) = (reserved.get_mut(long), &value) {
            tables.extend(values.iter().cloned());
            continue;
        }
        if let Some(help) = arg.get_help() {
            let _ = writeln!(text, "# {}", help.to_string().replace('\n', "\n# "));
        }
        let _ = writeln!(text, "{long} = {value}\n");
    }
    text.push_str(&reserved.to_string());
    text
}

fn value(arg: &Arg, matches: &ArgMatches) -> Option<Value> {
    let id = arg.get_id().as_str();
    if is_switch(arg) {
        return Some(Value::Boolean(matches.get_flag(id)));
    }
    let mut values = matches.get_raw(id)?.map(|raw| Value::String(raw.to_string_lossy().into_owned()));
    if is_list(arg) { Some(Value::Array(values.collect())) } else { values.next() }
}
