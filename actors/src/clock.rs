//! The works' clock.
