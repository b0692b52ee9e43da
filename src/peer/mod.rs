//! Peers: wire frames, handshake, mutual TLS. Decides nothing.
