//! The collection of scripts: those that come with the server, and those of a user's folder.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use chaos_kitty::{
    Code, Problem, limits,
    script::{Header, Own, hash, interpreter},
    text,
    v1::{self, Target},
};

use crate::fleet::ScriptContents;

macro_rules! included {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("scripts/", $name)))),*]
    };
}

/// By name.
const INCLUDED: &[(&str, &[u8])] = included![
    "burnIO.sh",
    "cpuBurn.sh",
    "dnsBlock.sh",
    "fillDisk.sh",
    "forkBomb.sh",
    "memoryConsumer.sh",
    "nullRoute.sh",
    "starveRandomNumberGenerator.sh",
    "terminateProcess.sh",
];

/// A script that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its file name.
    pub name: String,
    /// All of it.
    pub content: Bytes,
    /// SHA-256 of the content, hexadecimal.
    pub hash: String,
    /// What its header says.
    pub header: Header,
    /// It came with the server, not from the user's folder.
    pub included: bool,
}

impl Script {
    fn new(name: &str, content: Bytes, included: bool) -> Result<Self, Problem> {
        let header = Header::parse(name, &content)?;
        if interpreter(&content).is_none() {
            let what = format!("script {name}, line 1: it does not name an interpreter (#!)");
            return Err(Problem::new(Code::ScriptHeader, what).hint("begin it with #!/bin/sh"));
        }
        Ok(Self { name: name.to_owned(), hash: hash(&content), content, header, included })
    }

    /// Whether it may run on that target, by what its header says.
    ///
    /// # Errors
    /// [`Code::NotCattle`].
    pub fn suits(&self, target: &Target) -> Result<(), Problem> {
        if target.cattle || !self.header.is_cattle_only() {
            return Ok(());
        }
        let what =
            format!("{} has no self healing, and nothing recreates {} when it dies", self.name, target.name);
        Err(Problem::new(Code::NotCattle, what)
            .hint("choose cattle, or a script with a health check and self healing"))
    }

    /// Whether it can work there, by what the target's agent told of it; what the agent did not tell counts as there.
    pub fn works_on(&self, target: &Target, missing: &[String]) -> bool {
        let has = |own: &Own| target.own.as_ref().is_none_or(|has| has_own(has, *own));
        self.header.needs_own.iter().all(has)
            && !self.header.dependencies.iter().any(|one| missing.contains(one))
    }

    /// As it is shown. Without its content.
    pub fn view(&self) -> v1::Script {
        let header = &self.header;
        let remedy = header.remedy.as_ref();
        v1::Script {
            name: self.name.clone(),
            description: header.description.clone(),
            dependencies: header.dependencies.clone(),
            health_check: remedy.map(|remedy| remedy.health_check.clone()).unwrap_or_default(),
            self_healing: remedy.map(|remedy| remedy.self_healing.clone()).unwrap_or_default(),
            finalize_command: header.finalize.clone().unwrap_or_default(),
            experiment_type: header.experiment_type.into(),
            cattle_only: header.is_cattle_only(),
            hash: self.hash.clone(),
            included: self.included,
            content: String::new(),
            harms_host: header.harms_host,
            needs_own: header.needs_own.iter().map(|own| own.word().to_owned()).collect(),
            problem: None,
        }
    }
}

const fn has_own(has: &v1::target::Own, own: Own) -> bool {
    match own {
        Own::MemoryLimit => has.memory_limit,
        Own::ProcessLimit => has.process_limit,
        Own::Disk => has.disk,
        Own::Network => has.network,
        Own::Mounts => has.mounts,
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Scripts {
    by_name: BTreeMap<String, Arc<Script>>,
}

impl Scripts {
    /// The included scripts, and those in `folder`: each file there whose name does not begin with a dot. One of the
    /// name of an included script takes its place.
    ///
    /// # Errors
    /// [`Code::ScriptUnreadable`], else [`Code::ScriptHeader`]; all mistakes are told at once.
    pub fn load(folder: Option<&Path>) -> Result<Self, Problem> {
        let included =
            INCLUDED.iter().map(|(name, content)| Script::new(name, Bytes::from_static(content), true));
        let mut found: Vec<_> = included.collect();
        if let Some(folder) = folder {
            found.extend(files(folder)?.iter().map(|name| read(folder, name)));
        }
        let mut by_name = BTreeMap::new();
        let mut mistakes = Vec::new();
        for script in found {
            match script {
                Ok(script) => drop(by_name.insert(script.name.clone(), Arc::new(script))),
                Err(problem) => mistakes.push(problem),
            }
        }
        if by_name.len() > limits::SCRIPTS {
            mistakes.push(unreadable(format!("there are more than {} scripts", limits::SCRIPTS)));
        }
        if mistakes.is_empty() { Ok(Self { by_name }) } else { Err(all_at_once(&mistakes)) }
    }

    /// The script of that name.
    ///
    /// # Errors
    /// [`Code::NoSuchScript`], listing those there are.
    pub fn get(&self, name: &str) -> Result<&Arc<Script>, Problem> {
        self.by_name.get(name).ok_or_else(|| {
            let names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
            Problem::new(Code::NoSuchScript, format!("there is no script {name:?}"))
                .hint(format!("there are {}", names.join(", ")))
        })
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Script>> {
        self.by_name.values()
    }

    /// What the fleet hands to nodes.
    pub fn contents(&self) -> ScriptContents {
        self.all().map(|script| (script.hash.clone(), script.content.clone())).collect()
    }
}

/// Names of the files in a folder, in order.
fn files(folder: &Path) -> Result<Vec<String>, Problem> {
    let unreadable = |error: io::Error| {
        unreadable(format!("the folder of scripts {}: {error}", folder.display()))
            .hint("give the folder of scripts with --scripts-dir")
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.retain(|name| !name.starts_with('.') && !folder.join(name).is_dir());
    names.sort();
    Ok(names)
}

fn read(folder: &Path, name: &str) -> Result<Script, Problem> {
    let path = folder.join(name);
    let mut content = Vec::new();
    let most = limits::SCRIPT_BYTES;
    File::open(&path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut content))
        .map_err(|error| unreadable(format!("script {}: {error}", path.display())))?;
    if content.len() > most {
        return Err(unreadable(format!("script {}: it is larger than {most} bytes", path.display())));
    }
    // A mark before `#!` would keep the kernel from seeing it.
    let content =
        text::unmarked(&content).map_err(|what| unreadable(format!("script {}: {what}", path.display())))?;
    Script::new(name, content.into_owned().into(), false)
}

fn unreadable(what: String) -> Problem {
    Problem::new(Code::ScriptUnreadable, what)
}

/// One problem that tells of several.
fn all_at_once(mistakes: &[Problem]) -> Problem {
    let unreadable = mistakes.iter().find(|problem| problem.code == Code::ScriptUnreadable);
    let code = unreadable.map_or(Code::ScriptHeader, |problem| problem.code);
    let lines: Vec<_> = mistakes.iter().map(|problem| problem.message.as_str()).collect();
    let hint = mistakes.iter().map(|problem| problem.hint.as_str()).find(|hint| !hint.is_empty());
    Problem::new(code, lines.join("\n")).hint(hint.unwrap_or("correct or remove what is named"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    #[test]
    fn an_unknown_script_is_refused_with_those_there_are() {
        let problem = Scripts::load(None).unwrap().get("rm.sh").unwrap_err();
        assert_eq!(problem.code, Code::NoSuchScript);
        assert!(problem.hint.contains("cpuBurn.sh"));
    }

    #[test]
    fn every_included_script_is_for_posix_shells_and_says_what_it_does_and_needs() {
        let scripts = Scripts::load(None).unwrap();
        assert_eq!(scripts.all().count(), INCLUDED.len());
        for script in scripts.all() {
            let name = &script.name;
            assert!(script.content.starts_with(b"#!/bin/sh\n") && script.included, "{name}");
            assert!(!script.header.description.is_empty(), "{name}");
            let text = std::str::from_utf8(&script.content).unwrap();
            assert!(text.contains("\n# Dependencies: ") && text.contains("\n# Experiment type: "), "{name}");
        }
    }

    #[test]
    fn a_users_folder_adds_scripts_and_replaces_included_ones_of_the_same_name() {
        let own = "#!/bin/sh\n# Description: mine\n";
        let folder = folder(&[("cpuBurn.sh", own), ("nap.sh", own), (".hidden", "no script")]);
        fs::create_dir(folder.path().join("more")).unwrap();
        let scripts = Scripts::load(Some(folder.path())).unwrap();
        assert_eq!(scripts.all().count(), INCLUDED.len() + 1);
        for name in ["cpuBurn.sh", "nap.sh"] {
            let script = scripts.get(name).unwrap();
            assert_eq!((script.view().description.as_str(), script.included), ("mine", false));
        }
        assert_eq!(scripts.contents()[&hash(own.as_bytes())], own.as_bytes());
    }

    #[test]
    fn all_mistakes_of_a_folder_are_told_at_once() {
        let large = format!("#!/bin/sh\n{}", "x".repeat(limits::SCRIPT_BYTES));
        let half = ("half.sh", "#!/bin/sh\n# Self healing: true\n");
        let folder = folder(&[half, ("none.sh", "echo\n"), ("large.sh", &large)]);
        let problem = Scripts::load(Some(folder.path())).unwrap_err();
        assert_eq!(problem.code, Code::ScriptUnreadable, "{problem}");
        for place in ["half.sh, line 2", "none.sh, line 1", "large.sh: it is larger"] {
            assert!(problem.message.contains(place), "{problem}");
        }
        fs::remove_file(folder.path().join("large.sh")).unwrap();
        assert_eq!(Scripts::load(Some(folder.path())).unwrap_err().code, Code::ScriptHeader);
        let nowhere = Scripts::load(Some(&folder.path().join("nowhere"))).unwrap_err();
        assert!(nowhere.code == Code::ScriptUnreadable && nowhere.message.contains("nowhere"), "{nowhere}");
    }

    #[test]
    fn what_may_take_the_hosts_is_marked_and_works_where_the_target_has_its_own() {
        let scripts = Scripts::load(None).unwrap();
        let marked =
            scripts.all().filter(|script| script.header.harms_host).map(|script| script.name.as_str());
        assert_eq!(
            marked.collect::<Vec<_>>(),
            ["burnIO.sh", "fillDisk.sh", "forkBomb.sh", "memoryConsumer.sh"]
        );
        let works = |name: &str, target: &Target| scripts.get(name).unwrap().works_on(target, &[]);
        let plain = Target { own: Some(v1::target::Own::default()), ..Target::default() };
        let own = v1::target::Own { network: true, memory_limit: true, ..Default::default() };
        let contained = Target { own: Some(own), ..Target::default() };
        for name in ["memoryConsumer.sh", "dnsBlock.sh"] {
            assert!(works(name, &contained) && !works(name, &plain), "{name}");
            assert!(works(name, &Target::default()), "an agent of the version before does not say");
        }
        assert!(!works("fillDisk.sh", &contained) && works("burnIO.sh", &plain));
        assert!(!scripts.get("dnsBlock.sh").unwrap().works_on(&contained, &["ip".to_owned()]));
    }

    #[test]
    fn what_has_no_self_healing_runs_on_cattle_only() {
        let script = Script::new("x.sh", Bytes::from_static(b"#!/bin/sh\n"), false).unwrap();
        let pet = Target { name: "till".to_owned(), ..Target::default() };
        let refused = script.suits(&pet).unwrap_err();
        assert!(refused.code == Code::NotCattle && refused.message.contains("till"), "{refused}");
        script.suits(&Target { cattle: true, ..pet.clone() }).unwrap();
        let healing = b"#!/bin/sh\n# Health check: true\n# Self healing: true\n";
        Script::new("y.sh", Bytes::from_static(healing), false).unwrap().suits(&pet).unwrap();
    }
}
