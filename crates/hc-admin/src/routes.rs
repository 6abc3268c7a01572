//! Which paths there are. Router and OpenAPI document both read this table.

use hyper::Method;

/// What answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Live,
    Ready,
    Metrics,
    Overview,
    Checks,
    Check,
    Rows,
    Transitions,
    Events,
    OpenApi,
    Fleet,
    Overrides,
    Override,
    Withdraw,
    Probe,
    Reload,
    LogLevel,
}

pub(crate) struct Route {
    pub(crate) method: Method,
    /// `{check}` stands for one segment: an id or a name, percent-encoded.
    pub(crate) path: &'static str,
    pub(crate) endpoint: Endpoint,
    pub(crate) summary: &'static str,
}

impl Route {
    const fn get(path: &'static str, endpoint: Endpoint, summary: &'static str) -> Self {
        Self { method: Method::GET, path, endpoint, summary }
    }

    const fn post(path: &'static str, endpoint: Endpoint, summary: &'static str) -> Self {
        Self { method: Method::POST, path, endpoint, summary }
    }

    /// Whether it changes something: then it exists on the Unix socket only.
    pub(crate) fn changes(&self) -> bool {
        self.method == Method::POST
    }
}

pub(crate) const ROUTES: &[Route] = &[
    Route::get("/livez", Endpoint::Live, "The process runs."),
    Route::get(
        "/readyz",
        Endpoint::Ready,
        "200 if the checker can do its work, 503 with the reasons if not. Lines with `warning:` are no reason.",
    ),
    Route::get(
        "/metrics",
        Endpoint::Metrics,
        "Metrics for Prometheus; OpenMetrics if the request accepts it.",
    ),
    Route::get("/api/v1/status", Endpoint::Overview, "Is something wrong, and is it the checker?"),
    Route::get("/api/v1/checks", Endpoint::Checks, "Checks in the order of their ids, filtered, in pages."),
    Route::get("/api/v1/checks/{check}", Endpoint::Check, "One check, by id or name."),
    Route::get(
        "/api/v1/rows",
        Endpoint::Rows,
        "All checks in columns, some thousands in an answer, for readers that show every one.",
    ),
    Route::get(
        "/api/v1/transitions",
        Endpoint::Transitions,
        "Changes of health and of overrides, oldest first.",
    ),
    Route::get(
        "/api/v1/events",
        Endpoint::Events,
        "Changes of health and of overrides as server-sent events, as they happen.",
    ),
    Route::get(
        "/api/v1/fleet",
        Endpoint::Fleet,
        "The nodes that share their checks with this one. 404 without a fleet.",
    ),
    Route::get("/api/v1/openapi.json", Endpoint::OpenApi, "This document."),
    Route::get("/api/v1/overrides", Endpoint::Overrides, "What operators say of checks, oldest first."),
    Route::post("/api/v1/overrides", Endpoint::Override, "Force, mute or pause checks."),
    Route::post("/api/v1/overrides/withdraw", Endpoint::Withdraw, "End overrides before their time."),
    Route::post("/api/v1/checks/{check}/probe", Endpoint::Probe, "Probe a check now."),
    Route::post("/api/v1/reload", Endpoint::Reload, "Read the checks from their source again."),
    Route::post("/api/v1/log-level", Endpoint::LogLevel, "Change what is logged until the next restart."),
];

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The endpoint, and the check that the path names.
    Endpoint(Endpoint, Option<String>),
    /// The path is there, for these methods.
    OtherMethod(Vec<&'static str>),
    /// There is no such path.
    Nothing,
}

/// Looks a path up. `may_change`: whether routes that change something exist.
pub(crate) fn find(method: &Method, path: &str, may_change: bool) -> Found {
    // A HEAD request is answered like GET; hyper leaves the body out.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for route in ROUTES.iter().filter(|route| may_change || !route.changes()) {
        let Some(check) = matches(route.path, path) else { continue };
        if route.method == *method {
            return Found::Endpoint(route.endpoint, check);
        }
        others.push(if route.changes() { "POST" } else { "GET" });
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethod(others) }
}

/// `None`: another path. `Some(check)`: this one, with what stands in place of `{check}`.
fn matches(pattern: &str, path: &str) -> Option<Option<String>> {
    let mut check = None;
    let mut given = path.split('/');
    for expected in pattern.split('/') {
        let segment = given.next()?;
        if expected == "{check}" {
            let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
            if decoded.is_empty() {
                return None;
            }
            check = Some(decoded.into_owned());
        } else if expected != segment {
            return None;
        }
    }
    given.next().is_none().then_some(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_endpoints() {
        let get = |path| find(&Method::GET, path, false);
        assert_eq!(get("/livez"), Found::Endpoint(Endpoint::Live, None));
        assert_eq!(get("/api/v1/checks"), Found::Endpoint(Endpoint::Checks, None));
        assert_eq!(get("/api/v1/checks/web%2F1"), Found::Endpoint(Endpoint::Check, Some("web/1".to_owned())));
        assert_eq!(find(&Method::HEAD, "/readyz", false), Found::Endpoint(Endpoint::Ready, None));
        for path in [
            "",
            "/",
            "livez",
            "/livez/",
            "/api/v1/checks/",
            "/api/v1/checks/a/b",
            "/api/v1/checks/%ff",
            "/../livez",
        ] {
            assert_eq!(get(path), Found::Nothing, "{path}");
        }
    }

    #[test]
    fn what_changes_something_exists_only_where_it_may() {
        let path = "/api/v1/checks/7/probe";
        assert_eq!(find(&Method::POST, path, true), Found::Endpoint(Endpoint::Probe, Some("7".to_owned())));
        assert_eq!(find(&Method::POST, path, false), Found::Nothing);
        assert_eq!(find(&Method::GET, path, true), Found::OtherMethod(vec!["POST"]));
        assert_eq!(find(&Method::DELETE, "/livez", true), Found::OtherMethod(vec!["GET"]));
    }
}
