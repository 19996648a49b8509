//! What a panic means where faults are held: half dead is worse than dead, since nobody takes over then.

use std::{
    io::{self, Write},
    panic::{PanicHookInfo, set_hook},
    process::abort,
};

/// From now on a panic of any thread or task ends this process at once, so that its other half puts everything back.
pub fn abort_on_panic(program: &'static str) {
    set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        // Not by the log: what panicked may hold it.
        let _ = writeln!(io::stderr(), "{program}: this is a defect, and it ends: {panic}");
        abort();
    }));
}
