//! The vocabulary of events, and the log that keeps them.
