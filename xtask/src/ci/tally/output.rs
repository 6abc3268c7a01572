//! What test runners print, read line by line.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Tally;
use crate::command::REPEATED;

/// The Test Anything Protocol, as node writes it: the totals are comments at the end.
#[derive(Default)]
pub(super) struct NodeOutput {
    tally: Tally,
    /// Lines of the test that failed last.
    failing: Vec<String>,
}

impl NodeOutput {
    pub(super) fn line(&mut self, line: &str) {
        let count = |word: &str| line.strip_prefix(word).and_then(|count| count.trim().parse::<u64>().ok());
        if let Some(passed) = count("# pass ") {
            self.tally.passed = passed;
        } else if let Some(failed) = count("# fail ") {
            self.tally.failed += failed;
        } else if let Some(cancelled) = count("# cancelled ") {
            self.tally.failed += cancelled;
        } else if let Some(skipped) = count("# skipped ") {
            self.tally.skipped = skipped;
        } else if line.trim_start().starts_with("not ok ") {
            self.failing.push(line.to_owned());
        } else if line.trim_start().starts_with("ok ") || line.starts_with("# Subtest") {
            self.close();
        } else if !self.failing.is_empty() {
            self.failing.push(line.to_owned());
        }
    }

    /// What failed says it in its first lines; its stack follows.
    fn close(&mut self) {
        self.failing.truncate(REPEATED);
        let failing = std::mem::take(&mut self.failing);
        self.tally.say(&failing);
    }

    pub(super) fn end(mut self, succeeded: bool) -> Tally {
        self.close();
        self.tally.runner_failed = !succeeded;
        self.tally.lines.push(format!("page: {}", self.tally));
        self.tally
    }
}

#[derive(Default)]
pub(super) struct CargoOutput {
    tally: Tally,
    /// What was said since the closing line of the test program before.
    open: Vec<String>,
}

impl CargoOutput {
    /// Takes a line; a closing one is `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    pub(super) fn line(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            // That a test passed explains no failure.
            if !line.is_empty() && !line.ends_with("... ok") {
                self.open.push(line.to_owned());
            }
            return;
        };
        let count = |word: &str| -> u64 {
            let before = counts.split_once(word).map_or("", |(before, _)| before);
            before.split_whitespace().next_back().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let (passed, failed, skipped) = (count(" passed;"), count(" failed;"), count(" ignored;"));
        if passed + failed + skipped > 0 {
            self.tally.lines.push(line.to_owned());
        }
        self.tally += Tally { passed, failed, skipped, ..Tally::default() };
        if failed > 0 {
            self.tally.say(&self.open);
        }
        self.open.clear();
    }

    pub(super) fn end(mut self, succeeded: bool) -> Tally {
        self.tally.runner_failed = !succeeded;
        if !succeeded && self.tally.failed == 0 {
            self.tally.say(&self.open);
        }
        self.tally
    }
}

#[derive(Default)]
pub(super) struct GoEvents {
    pub(super) tally: Tally,
    /// The output of the tests that have not ended, by package and test: shown if they fail,
    /// dropped if they pass.
    open: BTreeMap<(String, String), Vec<String>>,
}

impl GoEvents {
    /// Takes one line and returns what to print of it.
    pub(super) fn line(&mut self, line: &str) -> String {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            return format!("{line}\n");
        };
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let (action, package, test, output) = (text("Action"), text("Package"), text("Test"), text("Output"));
        let is_test = !test.is_empty();
        let count = u64::from(is_test);
        match action.as_str() {
            "output" if is_test => {
                self.open.entry((package, test)).or_default().push(output);
                String::new()
            }
            "output" => self.package_output(output),
            "build-output" => output,
            "pass" => {
                self.tally.passed += count;
                self.open.remove(&(package, test));
                String::new()
            }
            "skip" => {
                self.tally.skipped += count;
                self.open.remove(&(package, test)).unwrap_or_default().concat()
            }
            "fail" => {
                self.tally.failed += count;
                self.failed(&package, is_test.then_some(&test))
            }
            _ => String::new(),
        }
    }

    fn package_output(&mut self, output: String) -> String {
        let line = output.trim_end();
        if line.starts_with("ok  ") || line.starts_with("FAIL\t") {
            self.tally.lines.push(line.to_owned());
        }
        // "PASS" and "FAIL" alone say nothing that the package's line does not say; "?" is a
        // package without tests.
        let silent = ["PASS", "FAIL"].contains(&line) || line.starts_with("?   \t");
        if silent { String::new() } else { output }
    }

    /// What a failed test said. Where the package failed: what its tests said that never ended, as
    /// after a panic.
    fn failed(&mut self, package: &str, test: Option<&String>) -> String {
        let of_failed = |(of, name): &(String, String)| of == package && test.is_none_or(|test| test == name);
        let keys: Vec<_> = self.open.keys().filter(|key| of_failed(key)).cloned().collect();
        let output: String = keys.into_iter().filter_map(|key| self.open.remove(&key)).flatten().collect();
        self.tally.say(&output.lines().map(str::to_owned).collect::<Vec<_>>());
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_cargo(output: &str, succeeded: bool, counts: &str, said: &[&str]) -> Tally {
        let mut read = CargoOutput::default();
        output.lines().for_each(|line| read.line(line));
        let tally = read.end(succeeded);
        assert_eq!(tally.to_string(), counts);
        assert_eq!(tally.said, said);
        tally
    }

    const PASSED: &str = "running 3 tests\n\
        test a ... ok\n\
        test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
        test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.00s\n";

    #[test]
    fn counts_node_tests() {
        let said = "TAP version 13\n# Subtest: a\nok 1 - a\n# Subtest: b\nnot ok 2 - b\n  ---\n  error: 'why'\n  ...\n1..2\n# tests 2\n\
                    # suites 0\n# pass 1\n# fail 1\n# cancelled 0\n# skipped 3\n";
        let mut read = NodeOutput::default();
        said.lines().for_each(|line| read.line(line));
        let tally = read.end(false);
        assert_eq!(tally.to_string(), "1 passed, 1 failed, 3 skipped");
        assert!(tally.said.contains(&"  error: 'why'".to_owned()), "{:?}", tally.said);
        assert!(tally.verdict().is_err());
    }

    #[test]
    fn counts_cargo_test() {
        let tally = check_cargo(PASSED, true, "2 passed, 0 failed, 1 skipped", &[]);
        assert_eq!(tally.lines.len(), 1);
        tally.verdict().unwrap();
    }

    #[test]
    fn output_of_a_failed_cargo_test_is_kept() {
        let failed = "test fine ... ok\ntest bad ... FAILED\n\nthe reason\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let output = format!("{PASSED}{failed}");
        let tally = check_cargo(
            &output,
            false,
            "3 passed, 1 failed, 1 skipped",
            &["test bad ... FAILED", "the reason"],
        );
        assert_eq!(tally.verdict().unwrap_err().to_string(), "1 tests failed");
    }

    #[test]
    fn exit_code_decides_where_no_test_failed() {
        let output = format!("{PASSED}running 1 test\nmemory allocation failed\n");
        let said = ["running 1 test", "memory allocation failed"];
        check_cargo(&output, false, "2 passed, 0 failed, 1 skipped", &said).verdict().unwrap_err();
    }

    #[test]
    fn no_test_is_a_failure() {
        check_cargo("", true, "0 passed, 0 failed, 0 skipped", &[]).verdict().unwrap_err();
    }

    #[track_caller]
    fn check_go(events: &[&str], printed: &str, counts: &str) {
        let mut go = GoEvents::default();
        let text: String = events.iter().map(|event| go.line(event)).collect();
        assert_eq!(text, printed);
        assert_eq!(go.tally.to_string(), counts);
    }

    #[test]
    fn counts_go_tests_and_shows_only_what_failed() {
        check_go(
            &[
                r#"{"Action":"run","Package":"p","Test":"TestA"}"#,
                r#"{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}"#,
                r#"{"Action":"pass","Package":"p","Test":"TestA"}"#,
                r#"{"Action":"output","Package":"p","Test":"TestB","Output":"loud\n"}"#,
                r#"{"Action":"fail","Package":"p","Test":"TestB"}"#,
                r#"{"Action":"skip","Package":"p","Test":"TestC"}"#,
                r#"{"Action":"output","Package":"p","Output":"FAIL\n"}"#,
                r#"{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}"#,
                r#"{"Action":"fail","Package":"p"}"#,
            ],
            "loud\nFAIL\tp\t0.1s\n",
            "1 passed, 1 failed, 1 skipped",
        );
    }

    #[test]
    fn output_of_a_go_package_that_does_not_build_or_crashes_is_shown() {
        check_go(
            &[
                r#"{"ImportPath":"p","Action":"build-output","Output":"p.go:1: no\n"}"#,
                r#"{"ImportPath":"p","Action":"build-fail"}"#,
                r#"{"Action":"fail","Package":"p","FailedBuild":"p"}"#,
                r#"{"Action":"output","Package":"q","Test":"TestA","Output":"panic\n"}"#,
                r#"{"Action":"fail","Package":"q"}"#,
                "not json",
            ],
            "p.go:1: no\npanic\nnot json\n",
            "0 passed, 0 failed, 0 skipped",
        );
    }
}
