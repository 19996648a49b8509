//! `kittyctl top`

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Problem,
    v1::{GetStatusRequest, ListExperimentsRequest, WatchEventsRequest},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at},
};

use super::interrupt::Interrupts;
use crate::{
    args::Global,
    failure::{Failure, Outcome},
    output::Output,
    output::{Overview, Screen},
    session::Session,
};

/// Events that are kept for the screen.
const EVENTS: usize = 200;
/// Without any event, the server is asked again this often.
const REFRESH: Duration = Duration::from_secs(2);
/// Events that come this soon after another are shown together with it.
const GATHER: Duration = Duration::from_millis(200);
/// From a lost stream to the next attempt.
const RETRY: Duration = Duration::from_secs(1);
/// How often ages on the screen move on.
const TICK: Duration = Duration::from_secs(1);
/// Ctrl-C, as a key.
const END_OF_TEXT: u8 = 3;

pub(super) async fn run(global: &Global, out: &Output) -> Outcome {
    let session = Session::open(global).await?;
    let mut overview = Overview::default();
    refresh(&session, &mut overview).await?;
    match out.screen()? {
        None => out.view(&overview)?,
        Some(mut screen) => {
            let (sender, latest) = watch::channel(overview);
            tokio::select! {
                shown = show(&mut screen, latest) => shown?,
                never = feed(&session, &sender) => match never {},
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Draws what is known until somebody wants to leave.
async fn show(screen: &mut Screen, mut latest: watch::Receiver<Overview>) -> Result<(), Failure> {
    let mut interrupts = Interrupts::take_over()?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        screen.draw(&latest.borrow_and_update().frame(SystemTime::now(), screen.rows()))?;
        tokio::select! {
            key = screen.key() => if matches!(key, None | Some(b'q' | b'Q' | END_OF_TEXT)) {
                return Ok(());
            },
            () = interrupts.next() => return Ok(()),
            _ = latest.changed() => {}
            _ = resized.recv() => {}
            _ = ticks.tick() => {}
        }
    }
}

/// Keeps the overview up to date, through lost connections too.
async fn feed(session: &Session, latest: &watch::Sender<Overview>) -> std::convert::Infallible {
    loop {
        if let Err(problem) = follow(session, latest).await {
            latest.send_modify(|overview| overview.trouble = problem.to_string());
        }
        sleep(RETRY).await;
    }
}

/// Follows the events, and looks at the rest after each of them.
async fn follow(session: &Session, latest: &watch::Sender<Overview>) -> Result<(), Problem> {
    let request = WatchEventsRequest::default();
    let mut events = session.answer(session.client.clone().watch_events(request)).await?;
    loop {
        let mut overview = latest.borrow().clone();
        let mut next = timeout(REFRESH, events.message()).await;
        let gathered = Instant::now() + GATHER;
        while let Ok(news) = next {
            let Some(event) = news? else { return Ok(()) };
            overview.events.push_front(event);
            overview.events.truncate(EVENTS);
            next = timeout_at(gathered, events.message()).await;
        }
        refresh(session, &mut overview).await?;
        latest.send_replace(overview);
    }
}

/// Asks for everything but the events.
async fn refresh(session: &Session, overview: &mut Overview) -> Result<(), Problem> {
    let mut client = session.client.clone();
    overview.status = session.answer(client.get_status(GetStatusRequest {})).await?;
    let running = session.answer(client.list_experiments(ListExperimentsRequest::default())).await?;
    overview.experiments = running.experiments;
    overview.trouble.clear();
    Ok(())
}
