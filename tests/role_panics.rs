//! A role that fails in the midst of an election is rebuilt from the log.
