//! The examples do what they say.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/probe-once.rs"]
mod probe_once;

use hc_testkit::backend::Backend;
use hc_testkit::script::Step;
use hc_types::Outcome;

#[tokio::test]
async fn a_probe_says_what_the_backend_answered() {
    for (status, text) in [("200 OK", "200 OK"), ("503 Busy", "got 503 Busy; want 200")] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let backend = Backend::start("127.0.0.1".parse().unwrap(), Step::respond(answer.as_bytes())).unwrap();
        let (outcome, words) = probe_once::probe(backend.address()).await.unwrap();
        assert_eq!(matches!(outcome, Outcome::Pass(_)), status.starts_with("200"), "{words}");
        assert!(words.contains(text), "{words}");
    }
}
