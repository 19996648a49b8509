//! When automatic experiments start, and on what. Off until switched on.
//!
//! Every tick: with no experiment running, the backoff since the last one over and the administrative state
//! STARTED, one of the platforms that are due is drawn, and experiments are made on some of its targets.
//! When a platform is due is drawn anew each time, and counted in working time (`timing`, `calendar`).

mod calendar;
mod choose;
mod holidays;
mod identity;
mod port;
mod settings;
#[cfg(test)]
mod tests;
mod times;
mod timing;

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{BuildExperimentResponse, Schedule, UpdateScheduleRequest, schedule::PlatformSchedule},
};
use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use self::{
    choose::{Rules, draw, draw_for, one_of},
    times::{PlatformTimes, Times, to_wire},
};
use crate::{
    operation::WallClock,
    store::{Kind, Store},
    task::{self, OnPanic},
};

pub use self::{
    calendar::{Calendar, NONSTOP, Office},
    choose::PREFERRED_METHOD,
    holidays::Holidays,
    identity::identity,
    port::{Activity, Drawn, Pick, Port},
    settings::{Plan, Settings},
};

/// Its key in the store.
const KEY: &str = "schedule";
/// The longest backoff that is taken: a year.
const LONGEST_BACKOFF: Duration = Duration::from_secs(366 * 24 * 3600);

/// See the module.
pub struct Scheduler {
    port: Arc<dyn Port>,
    store: Store,
    clock: WallClock,
    settings: Settings,
    inner: Mutex<Inner>,
}

/// One decision at a time, so that two never see the same moment as theirs.
struct Inner {
    times: Times,
    random: ChaCha8Rng,
}

impl Scheduler {
    /// Takes up what the store holds. `seed` makes all that is drawn; nothing happens before [`Self::run`].
    ///
    /// # Errors
    /// The store can not be read.
    pub async fn new(
        port: Arc<dyn Port>,
        store: Store,
        clock: WallClock,
        settings: Settings,
        seed: u64,
    ) -> Result<Arc<Self>, Problem> {
        let stored = match store.value(KEY).await {
            // Off is what it is where nothing is known.
            Err(problem) if problem.code == Code::Unreadable => None,
            stored => stored?,
        };
        let restored = task::guarded(|| stored.map(Times::restored).unwrap_or_default());
        let times = restored.unwrap_or_else(|panic| {
            store.set_aside(Kind::Value, KEY, &panic);
            Times::default()
        });
        let inner = Inner { times, random: ChaCha8Rng::seed_from_u64(seed) };
        Ok(Arc::new(Self { port, store, clock, settings, inner: Mutex::new(inner) }))
    }

    /// Ticks until the handle is dropped.
    pub fn run(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        let scheduler = Arc::clone(self);
        AbortOnDropHandle::new(task::spawn(OnPanic::Abort, async move {
            loop {
                tokio::time::sleep(scheduler.settings.tick).await;
                // What a tick changes it sets at its end, so that one that panics has changed nothing.
                let ticked = task::caught(scheduler.tick()).await;
                if let Err(problem) = ticked.unwrap_or_else(|panic| Err(Problem::internal(panic))) {
                    tracing::warn!(%problem, "no automatic experiment was started");
                }
            }
        }))
    }

    /// When automatic experiments start.
    pub async fn get(&self) -> Schedule {
        let inner = self.inner.lock().await;
        self.told(&inner.times)
    }

    /// Switches it on or off, or sets the backoff. It is in the store before it holds.
    ///
    /// # Errors
    /// A backoff that is none, or the store can not be written; nothing has changed then.
    pub async fn update(&self, request: UpdateScheduleRequest) -> Result<Schedule, Problem> {
        let backoff = request.backoff.map(backoff).transpose()?;
        let mut inner = self.inner.lock().await;
        let mut times = inner.times.clone();
        times.backoff = backoff.or(times.backoff);
        if let Some(automated) = request.automated.filter(|automated| *automated != times.automated) {
            times.automated = automated;
            // What was due while it was off is not made up for.
            times.platforms.values_mut().for_each(|platform| platform.next = None);
            tracing::info!(automated, "automatic experiments are switched");
        }
        self.keep(&mut inner, times).await?;
        self.draw_missing(&mut inner, &self.port.platforms()).await?;
        Ok(self.told(&inner.times))
    }

    /// Starts experiments as a tick would, now: on a random platform, whatever its times say. Nothing is started
    /// where experiments run or no target can take part.
    ///
    /// # Errors
    /// [`Code::NotAdmitted`], and why the experiments can not be made.
    pub async fn start_any(&self) -> Result<BuildExperimentResponse, Problem> {
        let mut inner = self.inner.lock().await;
        self.port.admits()?;
        if self.port.activity().running {
            return Ok(BuildExperimentResponse::default());
        }
        let mut platforms = self.port.platforms();
        while let Some(platform) = one_of(&platforms, &mut inner.random) {
            let started = self.start(&mut inner, &platform, true).await?;
            if !started.experiments.is_empty() {
                return Ok(started);
            }
            platforms.retain(|other| *other != platform);
        }
        Ok(BuildExperimentResponse::default())
    }

    /// Starts an experiment on that target (its id, unique name or number) with a method of its own, whatever the
    /// times say.
    ///
    /// # Errors
    /// [`Code::NotAdmitted`], [`Code::NoSuchTarget`], [`Code::NoSuchExperimentMethod`], and why the experiment can not be made.
    pub async fn start_on(&self, target: &str) -> Result<BuildExperimentResponse, Problem> {
        let mut inner = self.inner.lock().await;
        self.port.admits()?;
        let target = &self.port.resolve(target)?;
        let seed = inner.random.random();
        let drawn = draw_for(&*self.port, target, seed).ok_or_else(|| {
            let what = format!("there is no experiment method that may be drawn for the target {}", target.id);
            Problem::new(Code::NoSuchExperimentMethod, what).hint(
                "see `kittyctl experiment methods`; kittyd --automated-methods says which may be drawn, and a suite may name any",
            )
        })?;
        let started = self.port.start(drawn).await?;
        self.started(&mut inner, &target.platform_type).await;
        Ok(started)
    }

    /// One look at the clock.
    ///
    /// # Errors
    /// The store can not be written, or the experiments can not be made.
    pub async fn tick(&self) -> Result<(), Problem> {
        let mut inner = self.inner.lock().await;
        if !inner.times.automated || self.port.admits().is_err() {
            return Ok(());
        }
        let now = self.now();
        let activity = self.port.activity();
        if activity.running || self.backoff_until(&inner.times, activity).is_some_and(|until| now < until) {
            return Ok(());
        }
        let platforms = self.port.platforms();
        self.draw_missing(&mut inner, &platforms).await?;
        let due = self.due(&inner.times, platforms, now);
        let Some(platform) = one_of(&due, &mut inner.random) else { return Ok(()) };
        // The next one is on the disk before this one starts: a server that dies in between starts none twice.
        let mut times = inner.times.clone();
        times.of(&platform).next = Some(self.next(&mut inner, &platform, now, timing::gap));
        self.keep(&mut inner, times).await?;
        self.start(&mut inner, &platform, false).await.map(drop)
    }

    /// Of the platforms that there are, those that are due.
    fn due(&self, times: &Times, mut platforms: Vec<String>, now: Timestamp) -> Vec<String> {
        platforms.retain(|platform| {
            let next = times.platforms.get(platform).and_then(|times| times.next);
            next.is_some_and(|next| next <= now) && self.settings.plan(platform).calendar.is_open(now)
        });
        platforms
    }

    /// Draws the first time of platforms that have none yet, while it is on.
    async fn draw_missing(&self, inner: &mut Inner, platforms: &[String]) -> Result<(), Problem> {
        if !inner.times.automated {
            return Ok(());
        }
        let has_none = |platform: &&String| {
            inner.times.platforms.get(*platform).is_none_or(|times| times.next.is_none())
        };
        let missing: Vec<_> = platforms.iter().filter(has_none).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (mut times, now) = (inner.times.clone(), self.now());
        for platform in missing {
            times.of(platform).next = Some(self.next(inner, platform, now, timing::first_gap));
        }
        self.keep(inner, times).await
    }

    fn next(
        &self,
        inner: &mut Inner,
        platform: &str,
        now: Timestamp,
        gap: fn(Duration, &mut ChaCha8Rng) -> Duration,
    ) -> Timestamp {
        let plan = self.settings.plan(platform);
        plan.calendar.after(now, gap(plan.mean, &mut inner.random))
    }

    /// Draws targets of the platform and makes experiments of them; none where nobody takes part.
    async fn start(
        &self,
        inner: &mut Inner,
        platform: &str,
        asked: bool,
    ) -> Result<BuildExperimentResponse, Problem> {
        let probability = self.settings.plan(platform).probability;
        let rules = Rules { probability, min_survivors: self.settings.min_survivors, asked };
        let drawn = draw(&*self.port, platform, rules, inner.random.random());
        if drawn.picks.is_empty() {
            tracing::debug!(platform, "no target takes part this time");
            return Ok(BuildExperimentResponse::default());
        }
        let started = self.port.start(drawn).await?;
        self.started(inner, platform).await;
        Ok(started)
    }

    async fn started(&self, inner: &mut Inner, platform: &str) {
        let mut times = inner.times.clone();
        times.of(platform).record(self.now());
        // They have started, whether or not that can be written down.
        if let Err(problem) = self.keep(inner, times).await {
            tracing::warn!(%problem, platform, "the time of these experiments is not kept");
        }
    }

    /// Writes it down, then it holds.
    async fn keep(&self, inner: &mut Inner, times: Times) -> Result<(), Problem> {
        if times != inner.times {
            self.store.put_value(KEY, &times.stored()).await?;
            inner.times = times;
        }
        Ok(())
    }

    fn backoff(&self, times: &Times) -> Duration {
        times.backoff.unwrap_or(self.settings.backoff)
    }

    fn backoff_until(&self, times: &Times, activity: Activity) -> Option<Timestamp> {
        // What ended on a clock that was set ahead, and then back, ended before this.
        let ended = activity.ended.filter(|ended| *ended <= (self.clock)())?;
        let until = ended.checked_add(self.backoff(times))?;
        Timestamp::try_from(until).ok()
    }

    fn now(&self) -> Timestamp {
        Timestamp::try_from((self.clock)()).unwrap_or(Timestamp::MAX)
    }

    fn told(&self, times: &Times) -> Schedule {
        let now = self.now();
        let mut platforms = self.port.platforms();
        platforms.extend(times.platforms.keys().cloned());
        platforms.sort();
        platforms.dedup();
        let until = self.backoff_until(times, self.port.activity()).filter(|until| *until > now);
        Schedule {
            automated: times.automated,
            backoff: Some(self.backoff(times).into()),
            backoff_until: until.map(to_wire),
            platforms: platforms.into_iter().map(|platform| self.told_of(times, platform)).collect(),
        }
    }

    fn told_of(&self, times: &Times, platform_type: String) -> PlatformSchedule {
        let plan = self.settings.plan(&platform_type);
        let PlatformTimes { next, started } =
            times.platforms.get(&platform_type).cloned().unwrap_or_default();
        PlatformSchedule {
            mean: Some(plan.mean.into()),
            probability: plan.probability,
            calendar: plan.calendar.to_string(),
            next: next.map(to_wire),
            times: started.into_iter().map(to_wire).collect(),
            platform_type,
        }
    }
}

fn backoff(wire: pbjson_types::Duration) -> Result<Duration, Problem> {
    let backoff = Duration::try_from(wire).map_err(|_| Problem::invalid("backoff", "it is less than 0"))?;
    if backoff > LONGEST_BACKOFF {
        return Err(Problem::invalid("backoff", "it is over a year"));
    }
    Ok(backoff)
}
