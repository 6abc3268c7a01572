//! Scripted backends that misbehave on command, for the tests of the hc health checker
