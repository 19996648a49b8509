//! Targets that own a cgroup are frozen.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use chaos_kitty::{
    Code,
    v1::{action_result, action_state::Name as State},
};
use chaos_kitty_guard::CgroupVersion;

use super::bench::{Bench, HOUR, eventually, seen};
use crate::host::{
    cgroup::{Cgroup, Freezer},
    membership,
};

/// A cgroup below our own that is removed when the test is over.
struct Own(Cgroup);

impl Own {
    /// One for each version that this machine has.
    fn each(name: &str) -> Vec<Self> {
        let memberships = membership::of(std::process::id()).unwrap();
        let freezers =
            memberships.into_iter().filter(|one| one.version == CgroupVersion::V2 || one.controls("freezer"));
        let made: Vec<_> = freezers
            .map(|one| {
                let folder: PathBuf = one.folder.join(format!("kitty-test-{name}-{}", std::process::id()));
                fs::create_dir(&folder).unwrap();
                Self(Cgroup { folder, version: one.version })
            })
            .collect();
        assert!(!made.is_empty());
        made
    }

    fn attribute(&self) -> &'static str {
        self.0.attribute()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.thaw().step().unwrap();
        // Those that were in it go on elsewhere.
        let above = self.0.folder.parent().unwrap().join("cgroup.procs");
        for pid in self.0.members().unwrap() {
            _ = fs::write(&above, pid.to_string());
        }
        fs::remove_dir(Path::new(&self.0.folder)).unwrap();
    }
}

#[tokio::test]
async fn a_target_that_owns_a_cgroup_is_frozen_and_thawed() {
    for own in Own::each("pause") {
        let mut bench = Bench::start().await;
        let victim = bench.victim("t");
        // Dropped first: a frozen process of version 1 does not die.
        let own = own;
        own.0.attach(victim.process().pid).unwrap();
        bench.delay("a", "t", Duration::from_millis(200));
        let started = bench.started("a").await;
        assert_eq!(own.0.freezer().unwrap(), Freezer::Frozen);
        let Some(action_result::Kind::Delay(result)) = started.result.and_then(|result| result.kind) else {
            panic!("no figures")
        };
        assert_eq!((result.means.as_str(), result.processes), ("freezer", 1));
        let over = bench.expect("a", State::Reverted).await;
        assert_eq!(own.0.freezer().unwrap(), Freezer::Thawed);
        for (phase, value) in [("Before", "thawed"), ("During", "frozen"), ("After", "thawed")] {
            assert!(
                seen(&over).contains(&format!("{phase} {}={value}", own.attribute())),
                "{:?}",
                seen(&over)
            );
        }
    }
}

#[tokio::test]
async fn a_cgroup_that_others_share_is_not_frozen() {
    for own in Own::each("shared") {
        let mut bench = Bench::start().await;
        let (victim, neighbour) = (bench.victim("t"), bench.victim("n"));
        let own = own;
        own.0.attach(victim.process().pid).unwrap();
        own.0.attach(neighbour.process().pid).unwrap();
        eventually("the neighbour has come to rest", || neighbour.state() == 'S').await;
        bench.delay("a", "t", HOUR);
        bench.started("a").await;
        assert_eq!((victim.state(), neighbour.state()), ('T', 'S'));
    }
}

#[tokio::test]
async fn a_cgroup_that_its_owner_has_frozen_is_refused_and_stays_frozen() {
    for own in Own::each("frozen") {
        let mut bench = Bench::start().await;
        let victim = bench.victim("t");
        let own = own;
        own.0.attach(victim.process().pid).unwrap();
        own.0.freeze().unwrap();
        eventually("it is frozen", || own.0.freezer().unwrap() == Freezer::Frozen).await;
        bench.delay("a", "t", HOUR);
        bench.refused("a", Code::AlreadyInState).await;
        assert_eq!(own.0.freezer().unwrap(), Freezer::Frozen);
    }
}

#[tokio::test]
async fn a_frozen_target_is_thawed_and_dies_of_its_kill() {
    for own in Own::each("kill") {
        let mut bench = Bench::start().await;
        let victim = bench.victim("t");
        let own = own;
        own.0.attach(victim.process().pid).unwrap();
        bench.delay("a", "t", HOUR);
        bench.started("a").await;
        bench.kill("b", "t", "TERM");
        let mut over = Vec::new();
        while over.len() < 2 {
            let report = bench.report().await;
            if !matches!(report.state(), State::Accepted) {
                over.push((report.action_id.clone(), report.state()));
            }
        }
        over.sort();
        let expected = [("a".to_owned(), State::Reverted), ("b".to_owned(), State::Done)];
        assert_eq!(over, expected);
        assert!(victim.process().has_ended());
    }
}
