//! The platform in memory keeps every promise of the suite, and dies where it is told to.

mod crashes;
mod memory;
