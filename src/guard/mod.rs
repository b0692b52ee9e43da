//! The guard process: owns the deadline and the fence. Must never depend on log, lock or disk latency.
