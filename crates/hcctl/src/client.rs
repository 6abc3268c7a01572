//! The admin API, from the other side.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use hc_api::Problem;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Where the server is.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    /// The first of these Unix sockets that is there.
    Unix(Vec<PathBuf>),
    /// A host and a port.
    Tcp(String),
}

/// Asks one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    server: Server,
    timeout: Duration,
}

impl Client {
    /// `timeout` is for the head of each answer, and for the rest of it where it ends.
    pub(crate) fn new(server: Server, timeout: Duration) -> Self {
        Self { server, timeout }
    }

    /// Asks for JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let body = self.whole(Method::GET, path, Vec::new()).await?;
        serde_json::from_slice(&body).with_context(|| format!("the answer to {path} is not understood"))
    }

    /// Asks for a change; the answer says what was done.
    pub(crate) async fn post(&self, path: &str, body: Vec<u8>) -> Result<String> {
        let body = self.whole(Method::POST, path, body).await?;
        let done: serde_json::Value = serde_json::from_slice(&body)?;
        Ok(done["done"].as_str().unwrap_or("done").to_owned())
    }

    /// Status and text, whatever the status is.
    pub(crate) async fn text(&self, path: &str) -> Result<(StatusCode, String)> {
        let response = self.request(Method::GET, path, Vec::new(), None).await?;
        let status = response.status();
        let body = timeout(self.timeout, response.into_body().collect()).await.map_err(|_| self.slow())??;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }

    /// A stream of events that goes on behind `last_id`.
    pub(crate) async fn events(&self, path: &str, last_id: Option<&str>) -> Result<Incoming> {
        let response = self.request(Method::GET, path, Vec::new(), last_id).await?;
        let status = response.status();
        if !status.is_success() {
            bail!("{status}");
        }
        Ok(response.into_body())
    }

    async fn whole(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes> {
        let response = self.request(method, path, body, None).await?;
        let status = response.status();
        let body = timeout(self.timeout, response.into_body().collect()).await.map_err(|_| self.slow())??;
        let body = body.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(anyhow!(problem.error)),
            Err(_) => Err(anyhow!("{status}")),
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        last_id: Option<&str>,
    ) -> Result<Response<Incoming>> {
        let asked = async {
            match &self.server {
                Server::Unix(sockets) => {
                    let stream = connect(sockets).await?;
                    send(stream, "hc-server", method, path, body, last_id).await
                }
                Server::Tcp(address) => {
                    let stream = TcpStream::connect(address).await;
                    let stream = stream.with_context(|| format!("cannot reach hc-server at {address}"))?;
                    send(stream, address, method, path, body, last_id).await
                }
            }
        };
        timeout(self.timeout, asked).await.map_err(|_| self.slow())?
    }

    fn slow(&self) -> anyhow::Error {
        anyhow!("no answer from hc-server within {}", humantime::format_duration(self.timeout))
    }
}

async fn send<S>(
    stream: S,
    host: &str,
    method: Method,
    path: &str,
    body: Vec<u8>,
    last_id: Option<&str>,
) -> Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    #[expect(clippy::disallowed_methods, reason = "it ends with the answer, or with the program")]
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, host);
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    if let Some(id) = last_id {
        request = request.header("Last-Event-ID", id);
    }
    Ok(sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?)
}

/// Connects to the first socket that is there. One that is there and refuses is not passed over:
/// what another server says would be mistaken for its word.
async fn connect(sockets: &[PathBuf]) -> Result<UnixStream> {
    let is_absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut result = Err(io::ErrorKind::NotFound.into());
    let mut tried = Vec::new();
    for socket in sockets {
        tried.push(socket.display().to_string());
        result = UnixStream::connect(socket).await;
        if !result.as_ref().is_err_and(is_absent) {
            tried = vec![socket.display().to_string()];
            break;
        }
    }
    let places = tried.join(" or ");
    result.with_context(|| format!("cannot reach hc-server at {places}: is it running, and is [admin] on?"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn the_first_socket_that_is_there_counts_also_if_it_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let [absent, refusing, serving] = ["absent", "refusing", "serving"].map(|name| dir.path().join(name));
        drop(UnixListener::bind(&refusing).unwrap());
        let _listener = UnixListener::bind(&serving).unwrap();

        connect(&[absent.clone(), serving.clone()]).await.unwrap();
        let error = connect(&[refusing.clone(), serving]).await.unwrap_err();
        assert!(format!("{error:#}").contains("/refusing: is it running"), "{error:#}");
        assert!(format!("{error:#}").contains("Connection refused"), "{error:#}");
        fs::remove_file(&refusing).unwrap();
        let error = connect(&[absent, refusing]).await.unwrap_err();
        assert!(format!("{error:#}").contains("/absent or "), "{error:#}");
    }
}
