//! The dead-man's switch: what a fault's undo is, and how it is carried out.
//!
//! The process `kitty-guard` holds the undo of every fault in force and ends it at min(deadline, lease), when
//! it is told to, or when the agent is gone. The agent links this crate to make undos, and to carry them out
//! itself should the guard die.
//!
//! | module | what it holds |
//! |---|---|
//! | [`undo`] | [`Undo`]: how a fault is put back, as data |
//! | [`process`] | [`Process`]: a pid and its start time |
//! | [`revert`] | carrying undos out |
//! | [`message`] | what agent and guard say to each other |
//! | [`clock`] | CLOCK_BOOTTIME |
//! | [`hooks`] | what the tests of all this take hold of |
//! | [`switch`] | when which fault ends |
//! | [`run`] | the process |

pub mod clock;
pub mod hooks;
pub mod message;
pub mod process;
pub mod revert;
pub mod run;
pub mod switch;
pub mod undo;

mod cgroup;
mod command;
mod http;
mod panic;
mod system;

pub use panic::abort_on_panic;
pub use process::Process;
pub use undo::{CgroupVersion, Undo};
