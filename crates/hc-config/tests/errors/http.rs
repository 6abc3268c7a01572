//! What HTTP checks cannot ask for.

use super::*;

#[test]
fn requests_and_conditions_of_http_checks() {
    wrong_check(
        "http.body_matches = ['ok', '(ok']",
        &[
            "f:4:28: check.http.body_matches: the regular expression \"(ok\" is wrong at character 1: unclosed group",
        ],
    );
    wrong_check(
        "http.expected_headers = [{ name = 'a', matches = '\\w{100}' }]",
        &[
            "f:4:50: check.http.expected_headers.matches: the regular expression \"\\\\w{100}\" is too costly: it compiles to \
           more than 65536 bytes (repetitions such as {1,100} make it large, most of all those of \\w and \\d; (?-u:\\w) is \
           ASCII only)",
        ],
    );
    wrong_check(
        "http.headers = { 'X A' = 'b' }",
        &["f:4:18: check.http.headers.\"X A\": is not the name of a header field"],
    );
    wrong_check(
        "http.headers = { A = 1 }",
        &["f:4:22: check.http.headers.A: expected a string, found an integer"],
    );
    // The value of a header may be a secret.
    wrong_check(
        "http.headers = { Host = 's3cret' }",
        &["f:4:16: check.http.headers: \"Host\" is made of the address or of `host`"],
    );
    wrong_check(
        "http.expected_headers = { equals = 'a' }",
        &["f:4:25: check.http.expected_headers: needs `name`"],
    );
    wrong_check(
        "http.expected_headers = { name = 'a', equals = 'a', contains = 'b' }",
        &["f:4:64: check.http.expected_headers.contains: not together with `equals` (see f:4:48)"],
    );
    wrong_check("http.body_json = { equals = 1 }", &["f:4:18: check.http.body_json: needs `pointer`"]);
    wrong_check(
        "http.body_json = { pointer = 'a' }",
        &["f:4:18: check.http.body_json: the pointer \"a\" does not begin with a slash"],
    );
    wrong_check(
        "http.body_json = { pointer = '', equals = nan }",
        &[
            "f:4:43: check.http.body_json.equals: expected a string, a finite number, true or false, found a float",
        ],
    );
    wrong_check("http.body_limit = 0", &["f:4:19: check.http.body_limit: 0 is not in 1 to 1048576"]);
    wrong_check(
        "http = { version = '2', proxy = true }",
        &["f:4:20: check.http.version: a proxy is not possible with HTTP/2"],
    );
    wrong_check(
        "http.version = '3'",
        &["f:4:16: check.http.version: \"3\" is not one of 1.1, 2; did you mean `2`?"],
    );
}
