//! Builds, tests, benchmarks and demonstrates the whole project.
fn main() {}
