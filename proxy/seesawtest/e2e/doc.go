// Package e2e holds the tests of the whole chain: the real seesaw_engine (or
// fake-engine), hc-proxy, hc-server and real backends.
//
// They run by `cargo xtask integration`, which builds the programs, names their
// directory in HC_BIN and makes a network namespace with lo up. Every address of
// 127.0.0.0/8 and fd00::/64 is local there, so one listener is many backends, and
// fixed ports are free. Without either the tests fail at once.
//
// TestRealServers and TestMarks make two more namespaces each, a load balancer and
// a backend, where nginx, HAProxy, Unbound and FreeRADIUS run.
//
// HC_LOGS names a directory that keeps the logs of the programs; without it they
// go when the test ends, and a failed test shows the end of each.
package e2e
