//! All that is known of a suite that ran.

use std::time::SystemTime;

use chaos_kitty::v1::SuiteRecord;

use super::{
    Cell, Tone, View,
    experiment::{asked, verdict_cell},
    status::field,
    table::{align, render},
    text::{moment, time},
};

impl View for SuiteRecord {
    fn view(&self, now: SystemTime) -> String {
        let suite = self.suite.clone().unwrap_or_default();
        let mut fields = vec![
            field("suite", moment(self.at.as_ref())),
            field("name", &suite.name),
            field("platform", &suite.platform_type),
            field("asked", asked(&suite)),
            field("made by", if self.automatic { "the scheduler" } else { "request" }),
            field("seed", self.seed),
            field("verdict", verdict_cell(self.verdict())),
            field("reason", &self.verdict_reason),
        ];
        fields.extend(self.groups.iter().map(|group| {
            let names = group.targets.join(" ");
            let roster = format!("{} targets, {} well: {names}", group.targets.len(), group.well);
            field(&format!("group {}", group.aggregation_identifier), roster)
        }));
        fields.extend(
            self.agents
                .iter()
                .map(|agent| field(&format!("agent {}", agent.id), format!("version {}", agent.version))),
        );
        fields.extend(self.probes.iter().map(|news| {
            let (word, tone) = if news.holds { ("holds", Tone::Good) } else { ("does not hold", Tone::Bad) };
            let about = [&time(news.at.as_ref()), word, &news.message].join(" ");
            field(&format!("probe {}", news.name), Cell::new(about.trim(), tone))
        }));
        let mut text = align(&fields);
        if !self.experiments.is_empty() {
            text.push('\n');
            text.push_str(&render(&self.experiments, now));
        }
        text
    }

    fn name(&self) -> String {
        moment(self.at.as_ref())
    }
}
