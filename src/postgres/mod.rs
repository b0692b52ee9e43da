//! PostgreSQL seen from outside: conninfo, probe, control. Decides nothing.
