//! What a step has shown, and how it is told.

/// What a step has shown.
#[derive(Debug)]
pub(super) struct Report {
    verdict: Verdict,
    title: String,
    lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Shown,
    Refused,
    Failed,
}

impl Report {
    /// It took effect and was put back.
    pub(super) fn shown(title: impl Into<String>, lines: Vec<String>) -> Self {
        Self { verdict: Verdict::Shown, title: title.into(), lines }
    }

    /// It was turned down, as it should be or may be.
    pub(super) fn refused(title: impl Into<String>, lines: Vec<String>) -> Self {
        Self { verdict: Verdict::Refused, title: title.into(), lines }
    }

    /// It was not as it should be.
    pub(super) fn failed(title: impl Into<String>, mut lines: Vec<String>, why: impl Into<String>) -> Self {
        lines.push(why.into());
        Self { verdict: Verdict::Failed, title: title.into(), lines }
    }

    /// Shown, or failed for these reasons.
    pub(super) fn judged(title: impl Into<String>, lines: Vec<String>, complaints: Vec<String>) -> Self {
        if complaints.is_empty() {
            Self::shown(title, lines)
        } else {
            Self::failed(title, lines, complaints.join("; "))
        }
    }

    /// Whether it was as it should be.
    pub(super) fn is_well(&self) -> bool {
        self.verdict != Verdict::Failed
    }

    /// A headline, then a line for each figure.
    pub(super) fn text(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Shown => "ok",
            Verdict::Refused => "refused",
            Verdict::Failed => "FAILED",
        };
        let mut text = format!("{verdict:8}{}\n", self.title);
        for line in &self.lines {
            text.push_str(&format!("          {}\n", crate::output::text::printable(line)));
        }
        text
    }
}
