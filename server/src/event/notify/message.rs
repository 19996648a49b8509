//! What a notification says, and how receivers want it. Pure.

use chaos_kitty::{
    Timestamp,
    v1::{
        Event, Experiment,
        event::{Kind, level::Name as Level},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a webhook understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One object with the names of the earlier experiment manager.
    #[default]
    Json,
    /// A message of Slack's incoming webhooks, and of those that understand them.
    Slack,
}

/// An event for people.
#[derive(Clone, Debug)]
pub(super) struct Notification {
    pub(super) level: Level,
    title: String,
    message: String,
    at: Timestamp,
    experiment: Option<Box<Experiment>>,
}

impl Notification {
    /// `None`: it is of no concern.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let level = Some(event.level()).filter(|level| *level != Level::Unspecified)?;
        let title = match event.kind.as_ref()? {
            Kind::Experiment(_) => "Experiment",
            Kind::Action(_) => "A fault is stuck",
            Kind::Halted(_) => "Halted",
            Kind::Resumed(_) => "Resumed",
            Kind::AdminState(_) => "Administrative state",
            Kind::Heartbeat(_) => "Heartbeat",
            Kind::Suite(_) => "Suite",
            _ => "ChaosKitty",
        };
        let experiment = match event.kind.as_ref() {
            Some(Kind::Experiment(experiment)) => Some(Box::new(experiment.clone())),
            _ => None,
        };
        let outcome = match event.kind.as_ref() {
            Some(Kind::Experiment(experiment)) => experiment.experiment_state().as_str_name(),
            Some(Kind::Suite(suite)) => suite.verdict().as_str_name(),
            _ => "",
        };
        Some(Self {
            level,
            title: format!("{title} {outcome}").trim_end().to_owned(),
            message: event.message.clone(),
            at: event.at.unwrap_or_default(),
            experiment,
        })
    }

    /// One line of the log.
    pub(super) fn log(&self) {
        let (title, message) = (self.title.as_str(), self.message.as_str());
        match self.level {
            Level::Error => tracing::error!(title, "notification: {message}"),
            Level::Warn => tracing::warn!(title, "notification: {message}"),
            Level::Good | Level::Unspecified => tracing::info!(title, "notification: {message}"),
        }
    }

    /// The body for a webhook.
    pub(super) fn body(&self, format: Format) -> Value {
        match format {
            Format::Json => self.json(),
            Format::Slack => self.slack(),
        }
    }

    fn json(&self) -> Value {
        let experiment = self.experiment.as_deref();
        json!({
            "title": self.title,
            "message": self.message,
            "notificationLevel": self.level.as_str_name(),
            "chaosTime": printed(&self.at),
            "targetContainer": experiment.map(|experiment| printed(&experiment.container)),
            "experimentId": experiment.map(|experiment| &experiment.id),
            "experimentType": experiment.map(|experiment| experiment.experiment_type().as_str_name()),
            "experimentMethod": experiment.map(|experiment| &experiment.experiment_method_name),
        })
    }

    fn slack(&self) -> Value {
        let colour = match self.level {
            Level::Error => "danger",
            Level::Warn => "warning",
            Level::Good | Level::Unspecified => "good",
        };
        json!({
            "text": self.title,
            "attachments": [{
                "color": colour,
                "fallback": self.message,
                "text": self.message,
                "fields": self.fields(),
                "ts": self.at.seconds,
            }],
        })
    }

    fn fields(&self) -> Vec<Value> {
        let Some(experiment) = self.experiment.as_deref() else { return Vec::new() };
        let target = experiment.container.as_ref();
        let kind = experiment.experiment_type().as_str_name();
        let fields = [
            ("Target", target.map_or("", |target| &target.name)),
            ("Group", target.map_or("", |target| &target.aggregation_identifier)),
            ("Platform", target.map_or("", |target| &target.platform_type)),
            ("Method", &experiment.experiment_method_name),
            ("Type", kind),
            ("Experiment", &experiment.id),
        ];
        let told = fields.into_iter().filter(|(_, value)| !value.is_empty());
        told.map(|(title, value)| json!({ "title": title, "value": value, "short": true })).collect()
    }
}

/// In proto JSON; null where that can not be.
fn printed(message: &impl Serialize) -> Value {
    serde_json::to_value(message).unwrap_or_default()
}
