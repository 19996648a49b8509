//! One step of the demo: an action on a target, measured before, during and after.

use std::time::{Duration, Instant};

use chaos_kitty::{
    Code, Problem,
    v1::{Action, ActionStatus, action_state::Name as State},
};

use super::{
    call::{Call, problem_of},
    cast::{AGENT, Cast},
    gauge::{Gauge, Subject},
    report::Report,
};
use crate::output::{describe, figures};

/// How long a figure may take to fall back after the fault has ended.
const SETTLING: Duration = Duration::from_secs(5);

/// What is shown: an action, and what must be seen of it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) on: On,
    pub(super) checks: Vec<Check>,
    pub(super) refusal: Refusal,
}

/// The target, by the number of the example service.
#[derive(Clone, Copy, Debug)]
pub(super) enum On {
    Worker(usize),
    Process(usize),
    Host,
}

/// A figure must rise by so much while the fault is in force, and fall back by three quarters of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) gauge: Gauge,
    pub(super) rises: f64,
}

/// Whether it may be turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It must take effect.
    Wrong,
    /// It needs rights or cgroups that an ordinary user or this machine may lack.
    Possible,
    /// The platform can not do it, and must say so.
    Expected,
}

/// Figures of one check.
#[derive(Clone, Copy, Debug)]
struct Course {
    check: Check,
    before: f64,
    during: f64,
    after: f64,
}

impl Check {
    fn has_risen(self, before: f64, during: f64) -> bool {
        during >= before + self.rises
    }

    fn has_fallen(self, before: f64, after: f64) -> bool {
        after <= before + self.rises / 4.0
    }
}

impl Course {
    fn line(&self) -> String {
        let gauge = self.check.gauge;
        let [before, during, after] = [self.before, self.during, self.after].map(|value| gauge.show(value));
        format!("{}: {before} → {during} → {after}", gauge.name())
    }

    fn complaint(&self) -> Option<String> {
        let Self { check, before, during, after } = *self;
        let name = check.gauge.name();
        if !check.has_risen(before, during) {
            Some(format!("{name} did not show the fault"))
        } else if !check.has_fallen(before, after) {
            Some(format!("{name} did not come back"))
        } else {
            None
        }
    }
}

impl Step {
    fn title(&self, cast: &Cast) -> String {
        let on = match self.on {
            On::Worker(index) => format!("{} as a worker", cast.shop(index)),
            On::Process(index) => format!("{} as a process", cast.shop(index)),
            On::Host => "the host".to_owned(),
        };
        format!("{} on {on}", describe(Some(&self.action)))
    }

    fn target(&self, cast: &Cast) -> String {
        match self.on {
            On::Worker(index) => cast.shop(index).to_owned(),
            On::Process(index) => cast.process_target(index),
            On::Host => format!("host/{AGENT}"),
        }
    }

    fn subject(&self, cast: &Cast) -> Subject {
        match self.on {
            On::Worker(index) | On::Process(index) => cast.subject(index),
            On::Host => cast.subject(0),
        }
    }

    /// Unleashes the action and measures.
    ///
    /// # Errors
    /// The demo itself can not go on. What the step did not show is in its report.
    pub(super) async fn run(&self, cast: &mut Cast) -> Result<Report, Problem> {
        let title = self.title(cast);
        let mut courses = self.look(&self.subject(cast)).await;
        let call = match Call::start(&cast.client, &self.target(cast), self.action.clone()).await {
            Ok(call) => call,
            Err(problem) => return Ok(self.refused(title, &problem)),
        };
        if call.last().state() == State::Refused {
            return Ok(self.refused(title, &problem_of(call.last())));
        }
        let subject = self.subject(cast);
        for course in &mut courses {
            course.during = course.check.gauge.read(&subject).await;
        }
        let end = call.end().await?;
        cast.restart_ended().await?;
        let subject = self.subject(cast);
        for course in &mut courses {
            course.after = settled(course, &subject).await;
        }
        Ok(self.judged(title, &courses, &end))
    }

    async fn look(&self, subject: &Subject) -> Vec<Course> {
        let mut courses = Vec::new();
        for check in &self.checks {
            let before = check.gauge.read(subject).await;
            courses.push(Course { check: *check, before, during: before, after: before });
        }
        courses
    }

    fn refused(&self, title: String, problem: &Problem) -> Report {
        let lines = vec![problem.message.clone(), problem.hint.clone()];
        let lines = lines.into_iter().filter(|line| !line.is_empty()).collect();
        if self.refusal != Refusal::Wrong && says_it_can_not(problem.code) {
            Report::refused(title, lines)
        } else {
            Report::failed(title, lines, format!("refused with {}", problem.code.number()))
        }
    }

    fn judged(&self, title: String, courses: &[Course], end: &ActionStatus) -> Report {
        let mut lines: Vec<String> = courses.iter().map(Course::line).collect();
        lines.extend(Some(figures(end.result.as_ref())).filter(|line| !line.is_empty()));
        let complaint = if !matches!(end.state(), State::Reverted | State::Done) {
            Some(format!("it ended {}: {}", end.state().as_str_name(), problem_of(end)))
        } else if self.refusal == Refusal::Expected {
            Some("it should have been refused".to_owned())
        } else {
            courses.iter().find_map(Course::complaint)
        };
        match complaint {
            Some(complaint) => Report::failed(title, lines, complaint),
            None => Report::shown(title, lines),
        }
    }
}

/// The figure once it has fallen back, or the last one if it does not.
async fn settled(course: &Course, subject: &Subject) -> f64 {
    let begun = Instant::now();
    loop {
        let after = course.check.gauge.read(subject).await;
        if course.check.has_fallen(course.before, after) || begun.elapsed() > SETTLING {
            return after;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A clear word on what this platform, user or machine lacks, as against a mistake of the demo's.
fn says_it_can_not(code: Code) -> bool {
    matches!(code, Code::Unsupported | Code::PolicyForbids | Code::Protected | Code::MissingDependency)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(before: f64, during: f64, after: f64) -> Course {
        let check = Check { gauge: Gauge::Latency, rises: 100.0 };
        Course { check, before, during, after }
    }

    #[test]
    fn a_figure_that_does_not_rise_or_does_not_come_back_is_complained_of() {
        assert_eq!(course(1.0, 150.0, 2.0).complaint(), None);
        assert!(course(1.0, 90.0, 1.0).complaint().is_some_and(|text| text.contains("did not show")));
        assert!(course(1.0, 150.0, 90.0).complaint().is_some_and(|text| text.contains("did not come back")));
    }

    #[test]
    fn a_refusal_passes_only_where_it_may_be_and_says_why() {
        let step = |refusal| Step { action: Action::default(), on: On::Host, checks: Vec::new(), refusal };
        let can_not = Problem::new(Code::Unsupported, "no cgroup");
        let mistake = Problem::new(Code::NoSuchTarget, "who?");
        assert!(step(Refusal::Possible).refused("t".into(), &can_not).is_well());
        assert!(step(Refusal::Expected).refused("t".into(), &can_not).is_well());
        assert!(!step(Refusal::Wrong).refused("t".into(), &can_not).is_well());
        assert!(!step(Refusal::Expected).refused("t".into(), &mistake).is_well());
    }

    #[test]
    fn an_action_that_should_be_refused_but_is_done_fails() {
        let step =
            Step { action: Action::default(), on: On::Host, checks: Vec::new(), refusal: Refusal::Expected };
        let done = ActionStatus { state: State::Done.into(), ..Default::default() };
        assert!(!step.judged("t".into(), &[], &done).is_well());
    }
}
