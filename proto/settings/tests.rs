use std::{fs, net::SocketAddr, time::Duration};

use clap::{CommandFactory, Parser, ValueEnum};
use serde::Deserialize;
use tempfile::TempDir;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Parser)]
#[command(name = "kittytest")]
struct Args {
    /// Where to listen
    #[arg(long, value_delimiter = ',', default_value = "a,b")]
    listen: Vec<String>,
    #[arg(long, value_parser = humantime::parse_duration, default_value = "15s")]
    lease: Duration,
    #[arg(long)]
    tls_cert: Option<PathBuf>,
    #[arg(long)]
    address: Option<SocketAddr>,
    #[arg(long, default_value_t = 3)]
    workers: u8,
    #[arg(long)]
    insecure: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
    #[arg(long)]
    host: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    #[serde(default)]
    cattle: bool,
}

struct Trial {
    _folder: TempDir,
    path: String,
}

fn trial(content: &str) -> Trial {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kitty.toml");
    fs::write(&path, content).unwrap();
    Trial { _folder: folder, path: path.to_str().unwrap().to_owned() }
}

impl Trial {
    fn load(&self, flags: &[&str]) -> Result<Loaded<Args>, SettingsError> {
        let line = ["kittytest", "--config", &self.path]
            .into_iter()
            .chain(flags.iter().copied())
            .map(OsString::from);
        load_from(line.collect(), &["process"])
    }

    /// The lines of what is wrong, without the file's name.
    fn mistakes(&self) -> Vec<String> {
        let Err(SettingsError::File(lines)) = self.load(&[]) else { panic!("no mistakes in the file") };
        lines.iter().map(|line| line.strip_prefix(&self.path).unwrap().to_owned()).collect()
    }
}

#[test]
fn a_flag_goes_over_the_file_and_the_file_over_the_default() {
    let trial =
        trial("host = 'web'\nlease = '20s'\nlisten = ['c', 'd']\ninsecure = true\n[tls]\ncert = 'x.pem'");
    let args = trial.load(&["--lease", "30s"]).unwrap().args;
    assert_eq!(args.lease, Duration::from_secs(30));
    assert_eq!((args.host.as_str(), args.workers), ("web", 3));
    assert_eq!(args.listen, ["c", "d"]);
    assert_eq!(args.tls_cert, Some(PathBuf::from("x.pem")));
    assert!(args.insecure);
    assert_eq!(trial.load(&["--listen", "e"]).unwrap().args.listen, ["e"]);
}

#[test]
fn without_a_file_the_defaults_hold_and_what_is_missing_is_said() {
    let load = |flags: &[&str]| load_from::<Args>(flags.iter().map(OsString::from).collect(), &[]);
    assert_eq!(load(&["kittytest", "--host", "a"]).unwrap().args.listen, ["a", "b"]);
    let error = load(&["kittytest"]).unwrap_err();
    assert!(error.to_string().contains("--host"), "{error}");
    assert_eq!(error.report(), ExitCode::from(2));
    assert_eq!(load(&["kittytest", "--help"]).unwrap_err().report(), ExitCode::SUCCESS);
}

#[test]
fn every_flag_has_a_variable() {
    let help = with_variables(Args::command()).render_help().to_string();
    for variable in ["KITTY_LISTEN", "KITTY_TLS_CERT", "KITTY_INSECURE", "KITTY_CONFIG"] {
        assert!(help.contains(variable), "{help}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_lines() {
    let trial = trial(
        "host = 'web'
leese = '20s'
lease = 'soon'
workers = 300
insecure = 'yes'
listen = [1, true]
log-format = 'xml'
tls-cert = ['a', 'b']
address = '1.2.3.4'

[tls]
cert = 'again'
colour = 'red'
",
    );
    let mistakes = trial.mistakes();
    let expected = [
        ":2: leese: no such setting; did you mean lease?",
        ":3: lease: \"soon\": ",
        ":4: workers: \"300\": 300 is not in 0..=255",
        ":5: insecure: it is a string, and must be true or false",
        ":6: listen: it is an integer, and must be an array of values",
        ":6: listen: it is a boolean, and must be an array of values",
        ":7: log-format: \"xml\": it must be one of text, json",
        ":8: tls-cert: it is an array, and must be one value",
        ":9: address: \"1.2.3.4\": ",
        ":12: tls-cert: given already in line 8",
        ":13: tls-colour: no such setting",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{mistake} is not {expected}");
    }
}

#[test]
fn toml_that_is_none_is_refused_with_its_lines_too() {
    let mistakes = trial("host = 'a'\nhost = 'b'\nlease == 1\nleese = 1\n").mistakes();
    for expected in [":2: ", ":3: ", ":4: leese"] {
        assert!(mistakes.iter().any(|mistake| mistake.starts_with(expected)), "{mistakes:#?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let line = ["kittytest", "--config", "/nowhere/kitty.toml"].map(OsString::from).to_vec();
    let error = load_from::<Args>(line, &[]).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/kitty.toml: it can not be read"), "{error}");
}

#[test]
fn reserved_tables_are_handed_out_with_their_places() {
    let good =
        trial("host = 'a'\n[[process]]\nname = 'nginx'\n\n[[process]]\nname = 'redis'\ncattle = true\n");
    let entries = good.load(&[]).unwrap().tables::<Rule>("process").unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry.value.name.as_str()).collect();
    assert_eq!(names, ["nginx", "redis"]);
    assert_eq!(entries[1].place, format!("{}:5", good.path));

    let bad = trial("host = 'a'\n[[process]]\nnome = 'nginx'\n\n[[process]]\nname = 5\n");
    let Err(SettingsError::File(lines)) = bad.load(&[]).unwrap().tables::<Rule>("process") else {
        panic!("both tables are wrong")
    };
    assert!(lines[0].starts_with(&format!("{}:3: unknown field `nome`", bad.path)), "{lines:#?}");
    assert!(lines[1].starts_with(&format!("{}:6: invalid type", bad.path)), "{lines:#?}");
}

#[test]
fn what_is_dumped_is_read_back_as_the_same_settings() {
    let first = trial("host = 'a \"b\" \\ c'\nlisten = ['x', 'y']\n[[process]]\nname = 'nginx'\n");
    let flags = ["--insecure", "--lease", "1m", "--address", "[::1]:80", "--log-format", "json"];
    let Err(SettingsError::Dump(dump)) = first.load(&[&flags[..], &["--dump-config"]].concat()) else {
        panic!("nothing was dumped")
    };
    let (direct, again) = (first.load(&flags).unwrap(), trial(&dump).load(&[]).unwrap());
    assert_eq!(format!("{:?}", again.args), format!("{:?}", direct.args), "{dump}");
    assert_eq!(again.tables::<Rule>("process").unwrap().len(), 1);
    assert!(dump.contains("# Where to listen\nlisten = [\"x\", \"y\"]"), "{dump}");
}
