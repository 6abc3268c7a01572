// Package chaos proves that no death, stop or shortage of one part of the chain
// makes a healthy backend look sick or hides a sick one: real programs (hc-server,
// hc-proxy and fake-engine), backends whose true state is known at every moment,
// and a judge that holds each word the engine hears against it.
//
// The tests need root, a network and a mount namespace of their own and programs
// in HC_BIN: `cargo xtask chaos` provides them. A table of results ends the
// output. Nothing that a busy machine can break is asserted: recovery times and
// lateness are measured, what is false or lost fails, and a queue that
// is not bounded.
package chaos
