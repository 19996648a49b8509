//! How a service is, by its properties. Pure.

use std::collections::{BTreeSet, HashMap};

use chaos_kitty::v1::target_health::State;
use zbus::OwnedVariant;

/// A unit's properties, of all its interfaces that matter here.
pub(super) type Properties = HashMap<String, OwnedVariant>;

/// Properties that name units which a stop of this one stops (systemd.unit(5): Requires=, BindsTo=, PartOf=,
/// PropagatesStopTo=).
const STOPPED_ALONG: [&str; 4] = ["RequiredBy", "BoundBy", "ConsistsOf", "PropagatesStopTo"];

/// What systemd says of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Service {
    active: String,
    sub: String,
    freezer: String,
    main_pid: u32,
    control_group: String,
    restart: String,
    /// Units that systemd stops when it stops this one, whether they run or not.
    dependents: BTreeSet<String>,
    load: String,
    fragment: String,
    is_transient: bool,
    refuses_start: bool,
    /// Its files have changed since they were read.
    is_outdated: bool,
}

impl Service {
    /// What is missing counts as empty: versions of systemd differ.
    pub(super) fn of(properties: &Properties) -> Self {
        let text = |name: &str| {
            let value = properties.get(name).and_then(|value| <&str>::try_from(value).ok());
            value.unwrap_or_default().to_owned()
        };
        let names = |name: &str| {
            let value = properties.get(name).and_then(|value| value.try_clone().ok());
            value.and_then(|value| Vec::<String>::try_from(value).ok()).unwrap_or_default()
        };
        let flag = |name: &str| properties.get(name).and_then(|value| bool::try_from(value).ok());
        Self {
            active: text("ActiveState"),
            sub: text("SubState"),
            freezer: text("FreezerState"),
            main_pid: properties.get("MainPID").and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
            control_group: text("ControlGroup"),
            restart: text("Restart"),
            dependents: STOPPED_ALONG.into_iter().flat_map(names).collect(),
            load: text("LoadState"),
            fragment: text("FragmentPath"),
            is_transient: flag("Transient") == Some(true),
            refuses_start: flag("CanStart") == Some(false),
            is_outdated: flag("NeedDaemonReload") == Some(true),
        }
    }

    /// The pid of the main process. `None`: there is none, or it is on its way down.
    pub(super) fn main_pid(&self) -> Option<u32> {
        let is_up = matches!(self.active.as_str(), "active" | "reloading" | "activating" | "refreshing");
        Some(self.main_pid).filter(|pid| is_up && *pid > 0)
    }

    /// The name of its cgroup.
    pub(super) fn cgroup(&self) -> Option<&str> {
        self.control_group.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// Whether it is well.
    pub(super) fn health(&self) -> State {
        let moves = !self.freezer.starts_with("fr");
        if self.active == "active" && moves { State::Normal } else { State::Unknown }
    }

    /// Whether systemd brings it back when it dies.
    pub(super) fn is_cattle(&self) -> bool {
        !matches!(self.restart.as_str(), "" | "no")
    }

    /// Units that end when it is stopped, if they run. A target holds nothing, and starting one starts more than it.
    pub(super) fn dependents(&self) -> impl Iterator<Item = &str> {
        self.dependents.iter().map(String::as_str).filter(|unit| !unit.ends_with(".target"))
    }

    /// Why it could not be started again once it has ended. `None`: it can. `exists` looks for a file.
    pub(super) fn vanishes(&self, exists: impl Fn(&str) -> bool) -> Option<&'static str> {
        let is_missing = self.is_outdated && !self.fragment.is_empty() && !exists(&self.fragment);
        match self.load.as_str() {
            _ if self.is_transient => {
                Some("it is transient (systemd-run), and systemd forgets it when it ends")
            }
            "" | "loaded" if is_missing => Some("its unit file is gone, so systemd forgets it when it ends"),
            "" | "loaded" if self.refuses_start => Some("its unit does not allow to start it by hand"),
            "" | "loaded" => None,
            "masked" => Some("it is masked, so systemd does not start it"),
            _ => Some("its unit file can not be loaded any more"),
        }
    }

    /// The same in words, e.g. "active (running)".
    pub(super) fn words(&self) -> String {
        format!("{} ({})", self.active, self.sub)
    }
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;

    fn service(properties: &[(&str, Variant<'_>)]) -> Service {
        let owned = |(name, value): &(&str, Variant<'_>)| ((*name).to_owned(), value.try_to_owned().unwrap());
        Service::of(&properties.iter().map(owned).collect())
    }

    #[test]
    fn a_service_is_well_while_it_is_active_and_moves() {
        let web = service(&[
            ("ActiveState", "active".into()),
            ("SubState", "running".into()),
            ("MainPID", 54u32.into()),
            ("ControlGroup", "/system.slice/web.service".into()),
            ("Restart", "on-failure".into()),
        ]);
        assert_eq!(
            (web.health(), web.main_pid(), web.cgroup()),
            (State::Normal, Some(54), Some("web.service"))
        );
        assert!(web.is_cattle());
        assert_eq!(web.words(), "active (running)");
        let frozen = Service { freezer: "frozen".into(), ..web.clone() };
        assert_eq!((frozen.health(), frozen.main_pid()), (State::Unknown, Some(54)));
        let thawed = Service { freezer: "running".into(), ..web };
        assert_eq!(thawed.health(), State::Normal);
    }

    #[test]
    fn a_unit_that_systemd_would_forget_or_not_start_vanishes() {
        let vanishes = |more: (&'static str, Variant<'static>), exists: bool| {
            let file = ("FragmentPath", "/etc/systemd/system/web.service".into());
            // Of two of one name the last counts.
            service(&[("LoadState", "loaded".into()), file, more]).vanishes(|_| exists)
        };
        assert_eq!(vanishes(("Transient", false.into()), true), None);
        assert!(vanishes(("Transient", true.into()), true).unwrap().contains("systemd-run"));
        assert!(vanishes(("CanStart", false.into()), true).is_some());
        assert!(vanishes(("LoadState", "masked".into()), true).unwrap().contains("masked"));
        assert!(vanishes(("LoadState", "not-found".into()), true).is_some());
        assert!(vanishes(("NeedDaemonReload", true.into()), false).unwrap().contains("unit file"));
        assert_eq!(vanishes(("NeedDaemonReload", true.into()), true), None, "it was only edited");
    }

    #[test]
    fn what_ends_or_has_ended_has_no_main_process() {
        let ending = service(&[("ActiveState", "deactivating".into()), ("MainPID", 54u32.into())]);
        let ended = service(&[("ActiveState", "failed".into()), ("MainPID", 0u32.into())]);
        assert_eq!((ending.main_pid(), ended.main_pid()), (None, None));
        assert!(!ended.is_cattle() && ended.cgroup().is_none());
    }
}
