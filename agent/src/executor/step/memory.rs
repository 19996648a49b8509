//! The steps that were begun lately and what came of them, kept in a file, so that no step runs twice, whoever died in
//! between. One JSON object a line; the last line of an id counts.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chaos_kitty::{procfs::lines, trust, v1::StepResult};
use serde::{Deserialize, Serialize};

/// How long a step is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Steps remembered at the most; the oldest go first.
const CAPACITY: usize = 10_000;

/// Lines after which the file is written anew.
const LINES: usize = 4 * CAPACITY;

/// See the module.
#[derive(Debug)]
pub(in crate::executor) struct Memory {
    path: PathBuf,
    file: Option<File>,
    lines: usize,
    order: VecDeque<String>,
    steps: BTreeMap<String, Step>,
}

/// A step that was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    id: String,
    /// Seconds since 1970, when it was begun.
    at: u64,
    /// What came of it, once that is known.
    pub(super) result: Option<StepResult>,
}

impl Memory {
    /// What an earlier agent left there. A file that can not be read, or parts of it, count as nothing.
    pub(super) fn open(path: PathBuf) -> Self {
        let mut memory = Self { path, file: None, lines: 0, order: VecDeque::new(), steps: BTreeMap::new() };
        let text = fs::read(&memory.path).unwrap_or_default();
        for step in lines(&text).filter_map(|line| serde_json::from_slice::<Step>(line).ok()) {
            memory.take(step);
        }
        memory.forget(now());
        memory
    }

    /// The step of that id, if it was begun within the last hour.
    pub(super) fn get(&mut self, id: &str) -> Option<&Step> {
        self.forget(now());
        self.steps.get(id)
    }

    /// Remembers that a step is begun. It is on the disk when this returns.
    ///
    /// # Errors
    /// It can not be written; it is remembered in memory alone.
    pub(in crate::executor) fn begin(&mut self, id: &str) -> io::Result<()> {
        self.write(Step { id: id.to_owned(), at: now(), result: None })
    }

    /// Remembers what came of a step.
    ///
    /// # Errors
    /// As of [`Self::begin`].
    pub(super) fn end(&mut self, result: &StepResult) -> io::Result<()> {
        let id = result.step_id.clone();
        let at = self.steps.get(&id).map_or_else(now, |step| step.at);
        self.write(Step { id, at, result: Some(result.clone()) })
    }

    fn write(&mut self, step: Step) -> io::Result<()> {
        let mut line = serde_json::to_vec(&step)?;
        line.push(b'\n');
        self.take(step);
        let written = match &mut self.file {
            Some(file) if self.lines < LINES => file.write_all(&line).and_then(|()| file.sync_data()),
            _ => return self.rewrite(),
        };
        self.lines += 1;
        if written.is_err() {
            // What is torn would spoil the next line.
            self.file = None;
        }
        written
    }

    fn rewrite(&mut self) -> io::Result<()> {
        self.file = None;
        let mut text = Vec::new();
        for step in self.order.iter().filter_map(|id| self.steps.get(id)) {
            serde_json::to_writer(&mut text, step)?;
            text.push(b'\n');
        }
        let (fresh, mut file) = trust::draft(&self.path)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&fresh, &self.path)?;
        trust::sync_folder(&self.path)?;
        self.lines = self.steps.len();
        self.file = Some(file);
        Ok(())
    }

    fn take(&mut self, step: Step) {
        if self.steps.insert(step.id.clone(), step.clone()).is_none() {
            self.order.push_back(step.id);
        }
        while self.order.len() > CAPACITY {
            self.drop_oldest();
        }
    }

    fn forget(&mut self, now: u64) {
        let over = |step: &Step| now.saturating_sub(step.at) > REMEMBERED.as_secs();
        while self.order.front().is_some_and(|id| self.steps.get(id).is_none_or(over)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(id) = self.order.pop_front() {
            self.steps.remove(&id);
        }
    }
}

/// The wall clock: what is remembered outlives a boot.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str, output: &str) -> StepResult {
        StepResult { step_id: id.to_owned(), output: output.to_owned(), ..StepResult::default() }
    }

    #[test]
    fn what_was_begun_and_what_came_of_it_is_known_to_the_next_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps");
        let mut memory = Memory::open(path.clone());
        memory.begin("a").unwrap();
        memory.begin("b").unwrap();
        memory.end(&result("a", "well")).unwrap();
        drop(memory);
        // The agent died while it wrote.
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"id\":\"c\",\"at").unwrap();
        let mut memory = Memory::open(path);
        assert_eq!(memory.get("a").unwrap().result, Some(result("a", "well")));
        assert_eq!(memory.get("b").unwrap().result, None);
        assert!(memory.get("c").is_none());
        memory.begin("c").unwrap();
        assert!(Memory::open(memory.path.clone()).get("c").is_some());
    }

    #[test]
    fn a_step_is_forgotten_after_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps");
        let hour = REMEMBERED.as_secs();
        let line = |id: &str, ago| format!("{{\"id\":{id:?},\"at\":{},\"result\":null}}\n", now() - ago);
        fs::write(&path, line("old", hour + 5) + &line("young", hour - 60)).unwrap();
        let mut memory = Memory::open(path);
        assert!(memory.get("old").is_none() && memory.get("young").is_some());
    }

    #[test]
    fn memory_and_file_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(folder.path().join("steps"));
        for number in 0..=CAPACITY {
            memory.take(Step { id: number.to_string(), at: now(), result: None });
        }
        assert!(memory.get("0").is_none() && memory.steps.len() == CAPACITY);
        memory.begin("a").unwrap();
        memory.lines = LINES;
        memory.begin("b").unwrap();
        assert_eq!(fs::read_to_string(&memory.path).unwrap().lines().count(), memory.lines);
        assert_eq!(memory.lines, CAPACITY);
    }

    #[test]
    fn without_a_folder_it_is_remembered_in_memory_and_said() {
        let mut memory = Memory::open("/proc/no/such/steps".into());
        assert!(memory.begin("a").is_err());
        assert!(memory.get("a").is_some());
    }
}
