//! The end of what a program says.

use std::collections::VecDeque;

/// How much of it is kept.
const BYTES: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<u8>);

impl Tail {
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(BYTES);
        self.0.drain(..excess);
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.0.make_contiguous()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept() {
        let mut output = Tail::default();
        (0..1000).for_each(|n| output.keep(format!("line {n}\n").as_bytes()));
        let text = output.text();
        assert!(text.len() == BYTES && text.ends_with("line 999\n"));
    }
}
