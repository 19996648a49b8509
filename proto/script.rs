//! Scripts: what their headers say, and the hash by which they travel. Pure.
//!
//! The header is the leading block of lines that begin with `#`. Of these, the ones that begin with an exact phrase
//! (`# Description: `, …) are told apart; see [`Header`].

mod guess;
mod needs;

pub use guess::{interpreter, is_of_the_shell};
pub use needs::Own;

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use sha2::{Digest, Sha256};

use crate::{Code, Problem, v1::experiment_type::Name as ExperimentType};

/// A script without this line in its header takes the default of the earlier system.
const DEFAULT_TYPE: ExperimentType = ExperimentType::State;

/// What a script's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `# Dependencies: a, b`, and the interpreter of the `#!` line: programs that must be there.
    pub dependencies: Vec<String>,
    /// Where there is no such line and a shell runs the script: programs that it seems to call. A guess, so that one
    /// which is not there is a hint, and no reason to refuse the script.
    pub guessed: Vec<String>,
    /// `# Description: …`. Empty: none.
    pub description: String,
    /// `# Health check: …` and `# Self healing: …`: both, or neither.
    pub remedy: Option<Remedy>,
    /// `# Finalize command: …`: run after the recovery.
    pub finalize: Option<String>,
    /// `# Experiment type: …`: State, Resource or Network.
    pub experiment_type: ExperimentType,
    /// `# Side: agent`: it runs in the agent's namespaces instead of the target's, for what can not be done from
    /// inside; its commands too.
    pub outside: bool,
    /// `# Needs own: …`: what the target must have of its own. Without it the script would take the host's.
    pub needs_own: BTreeSet<Own>,
    /// `# Reach: host`: it harms more than its target, so that nobody draws it by chance unless it was named.
    pub harms_host: bool,
    /// `# Minimum Duration: …`: seconds, before which nothing is concluded.
    pub minimum_duration: Option<Duration>,
    /// `# Maximum Duration: …`: seconds, after which it is healed.
    pub maximum_duration: Option<Duration>,
}

/// How a script tells that its target is well again, and makes it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// A shell command that exits with 0 once the target has recovered.
    pub health_check: String,
    /// A shell command that ends the script's effect.
    pub self_healing: String,
}

impl Header {
    /// Reads the header of the script of that name.
    ///
    /// # Errors
    /// [`Code::ScriptHeader`], naming script and line.
    pub fn parse(name: &str, content: &[u8]) -> Result<Self, Problem> {
        let text = String::from_utf8_lossy(content);
        let wrong = |number: usize, what: &str| {
            Problem::new(Code::ScriptHeader, format!("script {name}, line {number}: {what}"))
        };
        let mut found = Found::default();
        for (index, line) in text.lines().take_while(|line| line.starts_with('#')).enumerate() {
            found.take(index + 1, line.trim_end()).map_err(|what| wrong(index + 1, &what))?;
        }
        let remedy = match (found.health_check, found.self_healing) {
            (Some((_, health_check)), Some((_, self_healing))) => Some(Remedy { health_check, self_healing }),
            (None, None) => None,
            (Some((number, _)), None) => {
                return Err(one_of_two(wrong(number, "it has a health check and no self healing")));
            }
            (None, Some((number, _))) => {
                return Err(one_of_two(wrong(number, "it has self healing and no health check")));
            }
        };
        let guessed = if found.dependencies.is_none() { guess::calls(content, &text) } else { Vec::new() };
        let mut dependencies = found.dependencies.unwrap_or_default();
        dependencies.extend(guess::interpreters(content));
        let mut seen = BTreeSet::new();
        dependencies.retain(|program| seen.insert(program.clone()));
        let experiment_type = found.experiment_type.unwrap_or(DEFAULT_TYPE);
        let mut needs_own = found.needs_own.unwrap_or_default();
        // What cuts off the network of the host cuts off the agent too.
        needs_own.extend((experiment_type == ExperimentType::Network).then_some(Own::Network));
        Ok(Self {
            dependencies,
            guessed: guessed.into_iter().filter(|program| seen.insert(program.clone())).collect(),
            description: found.description.unwrap_or_default(),
            remedy,
            finalize: found.finalize,
            experiment_type,
            needs_own,
            harms_host: found.harms_host.unwrap_or_default(),
            outside: found.outside.unwrap_or_default(),
            minimum_duration: found.minimum_duration,
            maximum_duration: found.maximum_duration,
        })
    }

    /// Nothing but a successor of the target undoes it for certain: only for what something recreates.
    pub const fn is_cattle_only(&self) -> bool {
        self.remedy.is_none()
    }
}

fn one_of_two(problem: Problem) -> Problem {
    problem.hint(
        "write both \"# Health check: \" and \"# Self healing: \", or neither: then it runs on cattle only",
    )
}

/// The lines of a header that mean something.
#[derive(Default)]
struct Found {
    dependencies: Option<Vec<String>>,
    description: Option<String>,
    health_check: Option<(usize, String)>,
    self_healing: Option<(usize, String)>,
    finalize: Option<String>,
    experiment_type: Option<ExperimentType>,
    outside: Option<bool>,
    needs_own: Option<BTreeSet<Own>>,
    harms_host: Option<bool>,
    minimum_duration: Option<Duration>,
    maximum_duration: Option<Duration>,
}

impl Found {
    fn take(&mut self, number: usize, line: &str) -> Result<(), String> {
        let pair = line.strip_prefix("# ").and_then(|line| line.split_once(':'));
        let Some((key, value)) = pair.filter(|(_, value)| value.is_empty() || value.starts_with(' ')) else {
            return Ok(());
        };
        let value = value.trim().to_owned();
        if value.contains('\0') {
            return Err("it holds a NUL byte".to_owned());
        }
        match key {
            "Dependencies" => once(&mut self.dependencies, key, list(&value)),
            "Description" => once(&mut self.description, key, value),
            "Health check" => once(&mut self.health_check, key, (number, command(value)?)),
            "Self healing" => once(&mut self.self_healing, key, (number, command(value)?)),
            "Finalize command" => once(&mut self.finalize, key, command(value)?),
            "Experiment type" => once(&mut self.experiment_type, key, experiment_type(&value)?),
            "Needs own" => once(&mut self.needs_own, key, needs::read(&value)?),
            "Reach" => once(&mut self.harms_host, key, reach(&value)?),
            "Side" => once(&mut self.outside, key, side(&value)?),
            "Minimum Duration" => once(&mut self.minimum_duration, key, seconds(&value)?),
            "Maximum Duration" => once(&mut self.maximum_duration, key, seconds(&value)?),
            _ => Ok(()),
        }
    }
}

fn once<T>(place: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    if place.is_some() {
        return Err(format!("{key:?} is there already"));
    }
    *place = Some(value);
    Ok(())
}

fn command(value: String) -> Result<String, String> {
    if value.is_empty() { Err("it names no command".to_owned()) } else { Ok(value) }
}

fn experiment_type(value: &str) -> Result<ExperimentType, String> {
    ExperimentType::from_str_name(&value.to_ascii_uppercase())
        .filter(|name| *name != ExperimentType::Unspecified)
        .ok_or_else(|| format!("{value:?} is none of State, Resource and Network"))
}

fn side(value: &str) -> Result<bool, String> {
    match value {
        "agent" => Ok(true),
        "target" => Ok(false),
        _ => Err(format!("{value:?} is neither agent nor target")),
    }
}

fn reach(value: &str) -> Result<bool, String> {
    match value {
        "host" => Ok(true),
        "target" => Ok(false),
        _ => Err(format!("{value:?} must be one of target, host")),
    }
}

fn seconds(value: &str) -> Result<Duration, String> {
    match value.parse::<u32>() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds.into())),
        Ok(0) | Err(_) => Err(format!("{value:?} is no number of seconds above 0")),
    }
}

/// Between commas, without what no program's name begins or ends with.
fn list(value: &str) -> Vec<String> {
    let is_around = |c: char| !c.is_alphanumeric() && !"_+".contains(c);
    let names = value.split(',').map(|name| name.trim_matches(is_around));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// SHA-256 of a content, hexadecimal.
pub fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &str = "#!/bin/sh -e
# Description: Fills it:  to the brim
# Dependencies: df, /fallocate/ , [tr], g++
# Health check: test ! -e /tmp/full
# Self healing: rm -f /tmp/full; true
# Finalize command: sync
# Experiment type: Resource
# Side: agent
# Needs own: disk, memory limit
# Reach: host
# Minimum Duration: 5
# Maximum Duration: 60
# nothing in particular

# Description: not in the header
";

    #[test]
    fn a_header_says_all_there_is_to_know() {
        let header = Header::parse("full.sh", WHOLE.as_bytes()).unwrap();
        let expected = Header {
            dependencies: ["df", "fallocate", "tr", "g++", "/bin/sh"].map(str::to_owned).into(),
            description: "Fills it:  to the brim".to_owned(),
            remedy: Some(Remedy {
                health_check: "test ! -e /tmp/full".to_owned(),
                self_healing: "rm -f /tmp/full; true".to_owned(),
            }),
            finalize: Some("sync".to_owned()),
            experiment_type: ExperimentType::Resource,
            outside: true,
            guessed: Vec::new(),
            needs_own: [Own::MemoryLimit, Own::Disk].into(),
            harms_host: true,
            minimum_duration: Some(Duration::from_secs(5)),
            maximum_duration: Some(Duration::from_secs(60)),
        };
        assert_eq!(header, expected);
        assert!(!header.is_cattle_only());
    }

    #[test]
    fn without_a_header_it_is_for_cattle_and_needs_its_interpreter_only() {
        let header = Header::parse("x.sh", b"#!/bin/bash\nnohup sleep 1\n").unwrap();
        assert_eq!(header.dependencies, ["/bin/bash"]);
        assert_eq!(header.guessed, ["nohup"]);
        assert!(header.is_cattle_only() && header.needs_own.is_empty() && !header.harms_host);
        assert_eq!((header.experiment_type, header.minimum_duration), (ExperimentType::State, None));
    }

    #[test]
    fn with_a_list_of_dependencies_nothing_is_guessed() {
        let header = Header::parse("x.sh", b"#!/bin/sh\n# Dependencies: ip\nnohup sleep 1\n").unwrap();
        assert_eq!((header.dependencies, header.guessed), (vec!["ip".into(), "/bin/sh".into()], vec![]));
    }

    #[test]
    fn a_script_of_the_network_needs_a_network_of_its_own() {
        let header = Header::parse("x.sh", b"#!/bin/sh\n# Experiment type: Network\n").unwrap();
        assert_eq!(header.needs_own, [Own::Network].into());
    }

    #[test]
    fn what_is_wrong_is_refused_by_script_and_line() {
        for (text, line, what) in [
            ("#!/bin/sh\n# Health check: true\n", 2, "no self healing"),
            ("#!/bin/sh\n#\n# Self healing: true\n", 3, "no health check"),
            ("# Experiment type: Chaos\n", 1, "none of State"),
            ("# Side: mine\n", 1, "neither"),
            ("# Reach: galaxy\n", 1, "one of target, host"),
            ("# Needs own: disk, car\n", 1, "\"car\" must be one of memory limit"),
            ("# Minimum Duration: 1m\n", 1, "seconds"),
            ("# Maximum Duration: 0\n", 1, "seconds"),
            ("# Finalize command: a\n# Finalize command: b\n", 2, "already"),
            ("# Finalize command:  \n# Finalize command:  \n", 1, "no command"),
            ("# Finalize command: a\0b\n", 1, "NUL"),
        ] {
            let problem = Header::parse("bad.sh", text.as_bytes()).unwrap_err();
            assert_eq!(problem.code, Code::ScriptHeader, "{text:?}");
            let place = format!("script bad.sh, line {line}: ");
            assert!(problem.message.starts_with(&place) && problem.message.contains(what), "{problem}");
        }
    }

    #[test]
    fn only_exact_phrases_count() {
        let text = "#!/bin/sh\n#Health check: true\n# health check: true\n#  Self healing: true\n## Description: x\n";
        let header = Header::parse("x.sh", text.as_bytes()).unwrap();
        assert_eq!((header.remedy, header.description), (None, String::new()));
    }

    #[test]
    fn the_hash_is_that_of_sha256sum() {
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            head in prop::sample::select(vec!["", "#!", "# Health check: ", "# Minimum Duration: ", "# Dependencies: "]),
            content in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let content = [head.as_bytes(), &content].concat();
            if let Err(problem) = Header::parse("any", &content) {
                prop_assert_eq!(problem.code, Code::ScriptHeader);
            }
            let _ = interpreter(&content);
        }

        #[test]
        fn what_is_found_in_a_header_is_what_was_written_there(
            check in "[!-~]([ -~]{0,30}[!-~])?", heal in "[!-~]([ -~]{0,30}[!-~])?", least in 1_u32..,
        ) {
            let text = format!("#!/bin/sh\n# Health check: {check}\n# Self healing: {heal}\n# Minimum Duration: {least}\n");
            let header = Header::parse("any", text.as_bytes()).unwrap();
            prop_assert_eq!(header.remedy, Some(Remedy { health_check: check, self_healing: heal }));
            prop_assert_eq!(header.minimum_duration, Some(Duration::from_secs(least.into())));
        }
    }
}
