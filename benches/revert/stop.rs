//! The agent is stopped and does not go on: its guard ends everything on time.

use std::time::{Duration, Instant};

use chaos_kitty_tests::Sandbox;
use rustix::process::Signal;

use crate::{
    held::{Held, WHAT},
    print, row,
    watch::watch,
};

const ROUNDS: usize = 50;
const HELD: Duration = Duration::from_secs(1);

pub(crate) async fn measure() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--lease", "60s"]).await;
    let mut took = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let held = Held::begin(&sandbox, &server, &server.endpoint(), HELD).await;
        held.agent.process.signal(Signal::STOP);
        let (stopped, _, ends) = watch(Instant::now, held.ended()).await;
        for ((end, asked), all) in ends.into_iter().zip(held.asked).zip(&mut took) {
            let due = asked + HELD;
            assert!(stopped < due, "the agent was stopped too late to be measured");
            all.push(end.saturating_duration_since(due));
        }
    }
    let rows: Vec<_> = WHAT.into_iter().zip(&took).map(|(what, took)| row(what, "idle", took)).collect();
    print("the agent is stopped: how late a fault ends, ms", "machine", &rows);
    println!("  with the way of the order to the agent; limit: 50");
}
