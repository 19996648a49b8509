//! The only place that prints. Data goes to standard output, talk to standard error; both can be read without
//! colour, which appears on a terminal only (`NO_COLOR` is respected).

mod control;
mod experiment;
mod figures;
mod overview;
mod progress;
mod record;
mod rows;
mod screen;
mod status;
mod table;
pub(crate) mod text;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::SystemTime,
};

use chaos_kitty::{Problem, page, v1};
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::args::Format;

pub(crate) use experiment::{PastSuite, verdict_told};
pub(crate) use figures::{describe, figures};
pub(crate) use overview::Overview;
pub(crate) use progress::{Course, Progress};
pub(crate) use screen::Screen;
pub(crate) use table::{Cell, Row, Tone};

/// Where results and talk go, and in which form.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
}

/// What can be shown with all that is known of it, and as one name.
pub(crate) trait View: Serialize {
    /// For people, some lines.
    fn view(&self, now: SystemTime) -> String;
    /// What `-o name` prints.
    fn name(&self) -> String;
}

/// A write to standard output; what fails is told by the caller, except for a broken pipe.
pub(crate) type Written = io::Result<()>;

impl Output {
    /// Writes results in this form.
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// The form of results.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Text to standard output; onto a terminal without what could steer it, but for colours.
    pub(crate) fn raw(&self, text: &str) -> Written {
        let mut stdout = anstream::stdout();
        let text = if io::stdout().is_terminal() { text::lines(text) } else { text.into() };
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// A line with one name. A program that reads it gets it as it is.
    fn named(&self, name: &str) -> Written {
        let name = if io::stdout().is_terminal() { text::printable(name) } else { name.into() };
        self.raw(&format!("{name}\n"))
    }

    /// A list: a table of its rows, or the whole response, or the rows' names.
    pub(crate) fn list<R: Row>(&self, response: &impl Serialize, rows: &[R]) -> Written {
        match self.format {
            Format::Table if rows.is_empty() => {
                self.say(&format!("no {}", R::PLURAL));
                Ok(())
            }
            Format::Table => self.raw(&table::render(rows, SystemTime::now())),
            Format::Name => rows.iter().try_for_each(|row| self.named(row.key())),
            Format::Json | Format::Yaml => self.whole(response),
        }
    }

    /// One message that is a row: a table of one line, or the message.
    pub(crate) fn one<R: Row + Serialize>(&self, message: &R) -> Written {
        self.list(message, std::slice::from_ref(message))
    }

    /// One message: a sentence for people, or the message itself. `name` prints nothing.
    pub(crate) fn sentence(&self, message: &impl Serialize, sentence: &str) -> Written {
        match self.format {
            Format::Table => self.raw(&format!("{sentence}\n")),
            Format::Name => Ok(()),
            Format::Json | Format::Yaml => self.whole(message),
        }
    }

    /// One message with all that is known of it.
    pub(crate) fn view(&self, message: &impl View) -> Written {
        match self.format {
            Format::Table => self.raw(&message.view(SystemTime::now())),
            Format::Name => self.named(&message.name()),
            Format::Json | Format::Yaml => self.whole(message),
        }
    }

    /// The content of a file: as it is into another file, without what could steer a terminal onto one.
    pub(crate) fn content(&self, content: &str) -> Written {
        if io::stdout().is_terminal() {
            let lines =
                content.lines().map(|line| format!("{}\n", text::printable(&line.replace('\t', "    "))));
            return self.raw(&lines.collect::<String>());
        }
        let mut stdout = io::stdout();
        stdout.write_all(content.as_bytes())?;
        stdout.flush()
    }

    /// An event: one line for people, or the message.
    pub(crate) fn event(&self, event: &v1::Event) -> Written {
        match self.format {
            Format::Table => self.raw(&status::render_event(event)),
            Format::Name => self.raw(&format!("{}\n", event.sequence)),
            // One that JSON cannot express must not end the watch.
            Format::Json | Format::Yaml => self.streamed(&page::shown(event.clone()).0),
        }
    }

    /// One message of a stream: a line of JSON or a document of YAML. Nothing in the other forms.
    pub(crate) fn streamed(&self, message: &impl Serialize) -> Written {
        match self.format {
            Format::Json => self.raw(&format!("{}\n", text::json(&serde_json::to_string(message)?))),
            Format::Yaml => self.raw(&format!("---\n{}", yaml(message)?)),
            Format::Table | Format::Name => Ok(()),
        }
    }

    fn whole(&self, message: &impl Serialize) -> Written {
        match self.format {
            Format::Yaml => self.raw(&yaml(message)?),
            _ => self.raw(&format!("{}\n", pretty(message)?)),
        }
    }

    /// Talk: what is going on, to standard error. Nobody is told when that is closed.
    pub(crate) fn say(&self, text: &str) {
        let _closed = writeln!(anstream::stderr(), "{}", text::lines(text));
    }

    /// A problem: what was tried, what happened, what to do.
    pub(crate) fn problem(&self, problem: &Problem) {
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let cyan = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
        let number = problem.code.number();
        self.say(&format!("{red}error:{red:#} {number}: {}", text::printable(&problem.message)));
        if !problem.hint.is_empty() {
            self.say(&format!("{cyan}hint:{cyan:#} {}", text::printable(&problem.hint)));
        }
    }

    /// The whole screen, where a person watches and has asked for no other form.
    pub(crate) fn screen(&self) -> io::Result<Option<Screen>> {
        if self.format == Format::Table { Screen::take_over() } else { Ok(None) }
    }

    /// Progress of actions and experiments: bars where a person watches and results come as a table at the end,
    /// lines otherwise.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(self.format == Format::Table && io::stderr().is_terminal())
    }
}

fn pretty(message: &impl Serialize) -> io::Result<String> {
    Ok(text::json(&serde_json::to_string_pretty(message)?).into_owned())
}

/// Where a text would steer a terminal, in the style of JSON, which is YAML too and can escape it.
fn yaml(message: &impl Serialize) -> io::Result<String> {
    let yaml = serde_yaml_ng::to_string(message).map_err(io::Error::other)?;
    if yaml.contains(|c| text::steers(c) && c != '\n') { Ok(pretty(message)? + "\n") } else { Ok(yaml) }
}

/// What the parser of the command line says, help and version included, and the exit code that goes with it.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let _closed = if error.use_stderr() {
        write!(anstream::stderr(), "{}", text::lines(&error.render().ansi().to_string()))
    } else {
        error.print()
    };
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_json_nor_yaml_steers_a_terminal() {
        let evil = v1::Event { message: "a\u{9b}31m\u{202e}b\u{7f}".to_owned(), ..Default::default() };
        for text in [pretty(&evil).unwrap(), yaml(&evil).unwrap()] {
            assert!(!text.contains(|c| text::steers(c) && c != '\n'), "{text:?}");
            let again: v1::Event = serde_yaml_ng::from_str(&text).unwrap();
            assert_eq!(again, evil);
        }
        let plain = v1::Event { message: "a cat".to_owned(), ..Default::default() };
        assert!(yaml(&plain).unwrap().contains("message: a cat\n"));
    }
}
