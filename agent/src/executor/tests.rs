//! With the real guard and real processes. This test process is the agent.

mod bench;
mod cgroups;
mod ends;
mod left;
mod lost;
mod names;
mod orders;
mod steps;
