//! Shells: the sequencer, the roles as supervised actors, the hands. No failover policy here.
