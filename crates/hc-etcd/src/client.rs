//! Calls to whichever member answers.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Settings;
use crate::connection::{Call, Connection};
use crate::endpoint::{Resolve, SystemResolve};
use crate::message::{
    AUTHENTICATE, AuthenticateRequest, AuthenticateResponse, RANGE, RangeRequest, RangeResponse,
};
use crate::{EtcdConfig, EtcdConfigError, EtcdError};

/// How long a member has to answer before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(300);

/// What all connections of the program have in common.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    resolver: Arc<dyn Resolve>,
}

impl Shared {
    pub(crate) fn new(config: EtcdConfig) -> Result<Self, EtcdConfigError> {
        Ok(Self { settings: Settings::load(config)?, resolver: Arc::new(SystemResolve) })
    }

    pub(crate) fn set_resolver(&mut self, resolver: Arc<dyn Resolve>) {
        self.resolver = resolver;
    }

    /// A key of ours in full.
    pub(crate) fn key(&self, rest: &str) -> Vec<u8> {
        format!("{}{rest}", self.settings.prefix).into_bytes()
    }
}

/// A connection that has shown that it serves, and what it is logged in with.
pub(crate) struct Session {
    connection: Connection,
    token: StdMutex<Option<Arc<str>>>,
}

impl Session {
    pub(crate) fn who(&self) -> &str {
        self.connection.who()
    }

    pub(crate) fn token(&self) -> Option<Arc<str>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn log_in(&self, shared: &Shared) -> Result<(), EtcdError> {
        let Some(login) = &shared.settings.login else { return Ok(()) };
        let question =
            AuthenticateRequest { name: login.user.clone(), password: login.password().expose().to_vec() };
        let patience = shared.settings.config.timeout;
        let answer: Result<AuthenticateResponse, EtcdError> =
            self.connection.ask(AUTHENTICATE, None, &question, patience, patience).await;
        let token = match answer {
            Ok(answer) => Some(answer.token.into()),
            // Nobody has to log in.
            Err(error) if error.says("authentication is not enabled") => None,
            Err(error) => return Err(error),
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }

    /// Opens a connection, logs in, and reads something that takes a majority of the members.
    async fn begin(shared: &Shared, place: usize) -> Result<Self, String> {
        let Settings { endpoints, tls, config, .. } = &shared.settings;
        let endpoint = &endpoints[place % endpoints.len()];
        let begin = async {
            let connection = Connection::open(endpoint, tls.as_ref(), &*shared.resolver).await?;
            let session = Self { connection, token: StdMutex::default() };
            session.log_in(shared).await.map_err(|error| error.to_string())?;
            let question = RangeRequest { key: shared.key("schema"), ..RangeRequest::default() };
            let answer: Result<RangeResponse, EtcdError> = session
                .connection
                .ask(RANGE, session.token().as_deref(), &question, config.timeout, config.timeout)
                .await;
            match answer {
                Err(error) if error.is_of_the_member() => Err(error.to_string()),
                // What it refuses now it refuses later, with the same words.
                _ => Ok(session),
            }
        };
        let limit = config.timeout * 3;
        let result =
            timeout(limit, begin).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
        result.map_err(|problem| {
            let authority = endpoint.authority();
            if problem.contains(&authority) { problem } else { format!("{authority}: {problem}") }
        })
    }
}

/// Calls to whichever member answers, over one connection at a time.
pub(crate) struct Client {
    pub(crate) shared: Arc<Shared>,
    state: Mutex<State>,
}

struct State {
    session: Option<Arc<Session>>,
    /// The member to try first, so that not all nodes are at the same one.
    place: usize,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let place = fastrand::usize(..shared.settings.endpoints.len());
        Self { shared, state: Mutex::new(State { session: None, place }) }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.shared.settings.config.timeout
    }

    /// The session that stands, or a new one: with the first member that answers. A member that does
    /// not answer at once is waited for beside the others.
    ///
    /// # Cancel safety
    /// Connections that are being made are given up.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, EtcdError> {
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session {
            return Ok(session.clone());
        }
        let count = self.shared.settings.endpoints.len();
        let mut tries = JoinSet::new();
        for step in 0..count {
            let (shared, place) = (self.shared.clone(), (state.place + step) % count);
            tries.spawn(async move {
                sleep(STAGGER * u32::try_from(step).unwrap_or(u32::MAX)).await;
                (place, Session::begin(&shared, place).await)
            });
        }
        let mut problems = Vec::new();
        while let Some(tried) = tries.join_next().await {
            match tried {
                Ok((place, Ok(session))) => {
                    state.place = place;
                    return Ok(state.session.insert(Arc::new(session)).clone());
                }
                Ok((_, Err(problem))) => problems.push(problem),
                Err(_) => problems.push("the attempt was given up".to_owned()),
            }
        }
        Err(EtcdError::Unreachable(problems.join("; ")))
    }

    /// The session is of no more use: the next one is with another member, if there is one.
    pub(crate) async fn give_up(&self, session: &Arc<Session>) {
        let mut state = self.state.lock().await;
        if state.session.as_ref().is_some_and(|stands| Arc::ptr_eq(stands, session)) {
            state.session = None;
            state.place = (state.place + 1) % self.shared.settings.endpoints.len();
        }
    }

    async fn over<A: Message + Default>(
        &self,
        session: &Arc<Session>,
        path: &'static str,
        question: &impl Message,
        total: Duration,
    ) -> Result<A, EtcdError> {
        let patience = self.timeout();
        let token = session.token();
        let mut answer = session.connection.ask(path, token.as_deref(), question, patience, total).await;
        if let Err(error) = &answer
            && error.wants_login()
            && self.shared.settings.login.is_some()
        {
            // Another call may have logged in meanwhile.
            if session.token() == token {
                session.log_in(&self.shared).await?;
            }
            answer =
                session.connection.ask(path, session.token().as_deref(), question, patience, total).await;
        }
        if let Err(error) = &answer
            && (error.is_of_the_member() || matches!(error, EtcdError::Unreachable(_)))
        {
            self.give_up(session).await;
        }
        answer
    }

    /// Asks something that must not be done twice: tried again only while nobody was asked.
    pub(crate) async fn ask<A: Message + Default>(
        &self,
        path: &'static str,
        question: &impl Message,
    ) -> Result<A, EtcdError> {
        let session = self.session().await?;
        match self.over(&session, path, question, self.timeout()).await {
            Err(EtcdError::Unreachable(_)) => {
                let session = self.session().await?;
                self.over(&session, path, question, self.timeout()).await
            }
            answer => answer,
        }
    }

    /// Asks something that may be done twice: other members are asked, too, if one does not answer.
    /// Gives when the one that answered was asked.
    pub(crate) async fn ask_again<A: Message + Default>(
        &self,
        path: &'static str,
        question: &impl Message,
    ) -> Result<(A, Instant), EtcdError> {
        self.ask_long(path, question, self.timeout()).await
    }

    /// The same for an answer that is long, and may take `total` as long as some of it comes.
    pub(crate) async fn ask_long<A: Message + Default>(
        &self,
        path: &'static str,
        question: &impl Message,
        total: Duration,
    ) -> Result<(A, Instant), EtcdError> {
        let tries = self.shared.settings.endpoints.len().clamp(2, 3);
        let mut latest = None;
        for _ in 0..tries {
            let session = self.session().await?;
            let asked = Instant::now();
            match self.over(&session, path, question, total).await {
                Ok(answer) => return Ok((answer, asked)),
                Err(error) if error.is_of_the_member() || matches!(error, EtcdError::Unreachable(_)) => {
                    latest = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(latest.unwrap_or_else(|| EtcdError::Unreachable("nobody was asked".to_owned())))
    }

    /// Begins a call of many messages.
    pub(crate) async fn begin_call(
        &self,
        session: &Arc<Session>,
        path: &'static str,
        message: &impl Message,
    ) -> Result<Call, EtcdError> {
        let patience = self.timeout();
        let token = session.token();
        let begun = session.connection.begin_call(path, token.as_deref(), message, false);
        timeout(patience, begun).await.unwrap_or_else(|_| {
            Err(EtcdError::Unreachable(format!("{}: takes no request within {patience:?}", session.who())))
        })
    }

    /// Logs in again, since a call of many messages was refused.
    pub(crate) async fn log_in(&self, session: &Arc<Session>) -> Result<(), EtcdError> {
        session.log_in(&self.shared).await
    }

    /// What a key has, of the moment.
    pub(crate) async fn get(&self, question: &RangeRequest) -> Result<RangeResponse, EtcdError> {
        Ok(self.ask_again(RANGE, question).await?.0)
    }
}
