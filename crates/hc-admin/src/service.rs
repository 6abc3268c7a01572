//! One request and its answer.

use std::sync::Arc;
use std::time::Duration;

use hc_api::{Filter, MAX_PAGE, Position, RowsOf};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Body, JSON, TEXT};
use crate::routes::{Endpoint, Found, find};
use crate::{Action, ActionError, Actions, Caller, MetricsFormat, Reader, events, openapi, page};

/// The longest body of a request.
const MAX_BODY: usize = 64 * 1024;
/// How long the body of a request may take.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Readers of events at once.
const EVENT_READERS: usize = 128;

/// Answers requests.
pub(crate) struct Service {
    reader: Arc<dyn Reader>,
    actions: Arc<dyn Actions>,
    event_readers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Service {
    pub(crate) fn new(
        reader: Arc<dyn Reader>,
        actions: Arc<dyn Actions>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { reader, actions, event_readers: Arc::new(Semaphore::new(EVENT_READERS)), shutdown }
    }

    /// `caller`: who may change something; nobody over TCP.
    pub(crate) async fn answer(&self, caller: Option<Caller>, request: Request<Incoming>) -> Response<Body> {
        if [Method::GET, Method::HEAD].contains(request.method())
            && let Some(response) = page::find(request.uri().path(), request.headers())
        {
            return response;
        }
        let found = find(request.method(), request.uri().path(), caller.is_some());
        let (endpoint, check) = match found {
            Found::Endpoint(endpoint, check) => (endpoint, check.unwrap_or_default()),
            Found::OtherMethod(methods) => {
                let mut response = answer::problem(
                    StatusCode::METHOD_NOT_ALLOWED,
                    format!("this path takes {}", methods.join(", ")),
                );
                if let Ok(allowed) = HeaderValue::from_str(&methods.join(", ")) {
                    response.headers_mut().insert(ALLOW, allowed);
                }
                return response;
            }
            Found::Nothing => {
                let path = request.uri().path();
                return answer::problem(StatusCode::NOT_FOUND, format!("no such path: {path}"));
            }
        };
        match (endpoint, caller) {
            (
                Endpoint::Probe
                | Endpoint::Override
                | Endpoint::Withdraw
                | Endpoint::Reload
                | Endpoint::LogLevel,
                Some(caller),
            ) => self.change(endpoint, check, caller, request).await,
            _ => self.show(endpoint, &check, &request),
        }
    }

    fn show(&self, endpoint: Endpoint, check: &str, request: &Request<Incoming>) -> Response<Body> {
        let query = request.uri().query().unwrap_or_default();
        match endpoint {
            Endpoint::Live => answer::bytes(StatusCode::OK, TEXT, "ok\n"),
            Endpoint::Ready => self.ready(),
            Endpoint::Metrics => self.metrics(request.headers()),
            Endpoint::Overview => answer::json(StatusCode::OK, &self.reader.overview()),
            Endpoint::Checks => match Filter::from_query(query) {
                Ok((filter, page)) => answer::json(StatusCode::OK, &self.reader.page(&filter, &page)),
                Err(error) => answer::problem(StatusCode::BAD_REQUEST, error.to_string()),
            },
            Endpoint::Rows => match RowsOf::from_query(query) {
                Ok(of) => answer::large_json(&self.reader.rows(&of), request.headers()),
                Err(error) => answer::problem(StatusCode::BAD_REQUEST, error.to_string()),
            },
            Endpoint::Check => match self.reader.check(check) {
                Some(state) => answer::json(StatusCode::OK, &state),
                None => {
                    answer::problem(StatusCode::NOT_FOUND, format!("no check with the id or name {check:?}"))
                }
            },
            Endpoint::Transitions => self.transitions(query),
            Endpoint::Events => self.events(query, request.headers()),
            Endpoint::Fleet => match self.reader.fleet() {
                Some(fleet) => answer::json(StatusCode::OK, &fleet),
                None => answer::problem(StatusCode::NOT_FOUND, "this server belongs to no fleet"),
            },
            Endpoint::OpenApi => answer::bytes(StatusCode::OK, JSON, openapi::document()),
            Endpoint::Overrides => answer::json(StatusCode::OK, &self.reader.overrides()),
            Endpoint::Probe
            | Endpoint::Override
            | Endpoint::Withdraw
            | Endpoint::Reload
            | Endpoint::LogLevel => answer::problem(StatusCode::FORBIDDEN, "only over the Unix socket"),
        }
    }

    fn ready(&self) -> Response<Body> {
        let readiness = self.reader.readiness();
        let (status, first) = if readiness.ready {
            (StatusCode::OK, vec!["ok".to_owned()])
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, readiness.reasons)
        };
        let warnings = readiness.warnings.iter().map(|warning| format!("warning: {warning}"));
        let lines = first.into_iter().chain(warnings).map(|line| line + "\n");
        answer::bytes(status, TEXT, lines.collect::<String>())
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Body> {
        let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (format, kind) =
            if accepts.into_iter().any(|accepts| accepts.contains("application/openmetrics-text")) {
                (MetricsFormat::OpenMetrics, "application/openmetrics-text; version=1.0.0; charset=utf-8")
            } else {
                (MetricsFormat::Prometheus, "text/plain; version=0.0.4; charset=utf-8")
            };
        answer::bytes(StatusCode::OK, kind, self.reader.metrics(format))
    }

    fn transitions(&self, query: &str) -> Response<Body> {
        let (mut after, mut limit) =
            (Position { epoch: self.reader.position().epoch, sequence: 0 }, MAX_PAGE);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let fits = match &*key {
                "after" => value.parse().map(|position| after = position).is_ok(),
                "limit" => {
                    let parsed = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                    parsed.map(|wanted| limit = wanted).is_some()
                }
                _ => false,
            };
            if !fits {
                return answer::problem(
                    StatusCode::BAD_REQUEST,
                    format!("{key}={value}: there are after=EPOCH-SEQUENCE and limit=1 to {MAX_PAGE}"),
                );
            }
        }
        answer::json(StatusCode::OK, &self.reader.transitions(after, limit))
    }

    fn events(&self, query: &str, headers: &HeaderMap) -> Response<Body> {
        // A browser that comes back names the last event in a header; a program may do it in the
        // query.
        let named = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let queried = || form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "after");
        let after = match named.or_else(|| queried().map(|(_, value)| value.into_owned())) {
            None => self.reader.position(),
            // An id that is none is one of before everything: the client gets all checks again.
            Some(id) => id.parse().unwrap_or(Position { epoch: 0, sequence: 0 }),
        };
        let Ok(seat) = self.event_readers.clone().try_acquire_owned() else {
            return answer::problem(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{EVENT_READERS} readers of events already"),
            );
        };
        let (body, feed) = events::stream(self.reader.clone(), after, self.shutdown.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with its reader, after a minute at most, or with the shutdown"
        )]
        tokio::spawn(async move {
            feed.await;
            drop(seat);
        });
        answer::body_of(StatusCode::OK, "text/event-stream; charset=utf-8", body)
    }

    async fn change(
        &self,
        endpoint: Endpoint,
        check: String,
        caller: Caller,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let body = match read_body(request.into_body()).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        let action = match endpoint {
            Endpoint::Probe => Action::Probe { check },
            Endpoint::Reload => Action::Reload,
            Endpoint::Override => match read(&body) {
                Ok(request) => Action::Override(request),
                Err(response) => return response,
            },
            Endpoint::Withdraw => match read(&body) {
                Ok(request) => Action::Withdraw(request),
                Err(response) => return response,
            },
            _ => match read(&body) {
                Ok(Level { level }) => Action::LogLevel { level },
                Err(response) => return response,
            },
        };
        tracing::info!(action = ?action, uid = caller.uid, pid = caller.pid, "changed through the admin socket");
        match self.actions.act(action, caller).await {
            Ok(done) => answer::json(StatusCode::OK, &serde_json::json!({ "done": done })),
            Err(ActionError::NotFound(error)) => answer::problem(StatusCode::NOT_FOUND, error),
            Err(ActionError::Rejected(error)) => answer::problem(StatusCode::CONFLICT, error),
            Err(ActionError::Failed(error)) => answer::problem(StatusCode::INTERNAL_SERVER_ERROR, error),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

/// A body that is JSON.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Response<Body>> {
    serde_json::from_slice(body)
        .map_err(|error| answer::problem(StatusCode::BAD_REQUEST, format!("the body: {error}")))
}

async fn read_body(body: Incoming) -> Result<Bytes, Response<Body>> {
    let too_large =
        || answer::problem(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {MAX_BODY} bytes"));
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(answer::problem(StatusCode::BAD_REQUEST, error.to_string())),
        Err(_) => Err(answer::problem(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}
