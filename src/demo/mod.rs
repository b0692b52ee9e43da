//! Throw-away clusters on real PostgreSQL, for the demo, the benchmark and the tests.
