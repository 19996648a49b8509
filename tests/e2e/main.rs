//! The end-to-end tests, one module a story, in one binary.

#![allow(missing_docs, reason = "the names of tests are their documentation")]

mod architecture;
