//! Unix socket server of the hc health checker: frames, handshake, peer credentials, acknowledgements
