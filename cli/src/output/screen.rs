//! The whole screen of a terminal, and the keys that are pressed there.

use std::{
    env,
    io::{self, IsTerminal, Write},
    thread,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::text::lines;

/// Another page of the terminal, without a cursor, where long lines are cut.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// All of that as it was.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the upper left corner.
const HOME: &str = "\x1b[H";
/// The rest of the line, and of the screen, is empty.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";
/// Rows of a terminal that does not tell.
const ROWS: u16 = 24;
/// Keys that may wait to be looked at.
const KEYS: usize = 16;

/// A terminal that was taken over. It is given back as it was when this is dropped.
#[derive(Debug)]
pub(crate) struct Screen {
    before: Termios,
    keys: mpsc::Receiver<u8>,
}

impl Screen {
    /// Takes the terminal over. `None`: there is none, or one that can only write line after line.
    ///
    /// # Errors
    /// The terminal does not let itself be set.
    pub(super) fn take_over() -> io::Result<Option<Self>> {
        let is_dumb = env::var("TERM").is_ok_and(|name| name == "dumb");
        if is_dumb || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        // Keys come one by one and unseen, Ctrl-C too.
        raw.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let screen = Self { before, keys: keys() };
        write(ENTER)?;
        Ok(Some(screen))
    }

    /// How many lines it has.
    pub(crate) fn rows(&self) -> usize {
        let size = tcgetwinsize(io::stdout());
        size.map(|size| size.ws_row).ok().filter(|rows| *rows > 0).unwrap_or(ROWS).into()
    }

    /// Shows these lines instead of what was there.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(crate) fn draw(&self, frame: &str) -> io::Result<()> {
        let plain = anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never;
        let frame = lines(frame);
        let frame = if plain { anstream::adapter::strip_str(&frame).to_string() } else { frame.into_owned() };
        let lines: Vec<String> = frame.split('\n').map(|line| format!("{line}{CLEAR_LINE}")).collect();
        write(&format!("{HOME}{}{CLEAR_REST}", lines.join("\n")))
    }

    /// Waits for the next key. `None`: the terminal is gone.
    pub(crate) async fn key(&mut self) -> Option<u8> {
        self.keys.recv().await
    }
}

/// Keys as they are pressed. They are read by a thread that nobody waits for: the program's end is its own.
fn keys() -> mpsc::Receiver<u8> {
    let (sender, keys) = mpsc::channel(KEYS);
    thread::spawn(move || {
        let mut byte = [0];
        while let Ok(1) | Err(rustix::io::Errno::INTR) = rustix::io::read(io::stdin(), &mut byte) {
            if sender.blocking_send(byte[0]).is_err() {
                return;
            }
        }
    });
    keys
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _gone = write(LEAVE);
        let _gone = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// As it is: these codes are no colours.
fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
