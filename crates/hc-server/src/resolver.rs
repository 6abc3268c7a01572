//! The hosts of webhooks and of etcd.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use hc_resolve::Resolver;
use hc_sinks::Resolve;

/// By the configuration of the system. One that cannot be read is tried again with the next
/// question.
#[derive(Default)]
pub(crate) struct SystemResolve(Mutex<Option<Resolver>>);

impl SystemResolve {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let answer = self.resolver()?.resolve(host).await.map_err(|error| error.to_string())?;
        Ok(answer.addresses.into_iter().collect())
    }

    fn resolver(&self) -> Result<Resolver, String> {
        let mut resolver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*resolver {
            Some(resolver) => Ok(resolver.clone()),
            None => {
                let new = Resolver::system().map_err(|error| error.to_string())?;
                Ok(resolver.insert(new).clone())
            }
        }
    }
}

impl Resolve for SystemResolve {
    fn resolve(&self, host: &str) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + '_>> {
        let host = host.to_owned();
        Box::pin(async move { self.addresses(&host).await })
    }
}

impl hc_etcd::Resolve for SystemResolve {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + 'a>> {
        Box::pin(self.addresses(host))
    }
}
