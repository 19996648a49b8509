//! For the tests that prove that every fault ends (`tests/torture`): guarantees that are taken away. Without the
//! feature `test-hooks`, and in every release whatever its features, it is nothing.

/// Whether the variable `KITTY_WITHOUT`, comma-separated, takes a guarantee away.
#[cfg(all(feature = "test-hooks", debug_assertions))]
pub(crate) fn without(guarantee: &str) -> bool {
    std::env::var("KITTY_WITHOUT").is_ok_and(|names| names.split(',').any(|name| name == guarantee))
}

/// Never, in this build.
#[cfg(not(all(feature = "test-hooks", debug_assertions)))]
pub(crate) const fn without(_: &str) -> bool {
    false
}
