//! Supervision of any actix actor.
