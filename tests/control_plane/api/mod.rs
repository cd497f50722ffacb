//! The API over loopback, with a real client.

mod access;
mod active;
mod anomalies;
mod bad_input;
mod costs;
mod known;
mod policies;
mod samples;
mod simulate;
mod statistics;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use lipservice::clock::Clock;
use lipservice::control_plane::api::config::ApiConfig;
use lipservice::control_plane::api::{Api, Bound, Parts};
use lipservice::control_plane::mirror::Mirror;
use lipservice::control_plane::store::config::StoreConfig;
use lipservice::control_plane::store::{NewToken, Scope, Store};
use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::shutdown::Shutdown;
use serde_json::Value;
use tokio::task::JoinHandle;

pub use anomalies::events_until;

use super::store::{START, actor, at};
use crate::gateway::client;

/// An API over a store of its own.
pub struct Server {
    pub api: Arc<Api>,
    pub store: Store,
    pub mirror: Arc<Mirror>,
    pub address: SocketAddr,
    pub clock: Clock,
    pub http: reqwest::Client,
    pub token: Option<String>,
    stop: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

/// Settings for a free port.
pub fn config() -> ApiConfig {
    ApiConfig { endpoint: "127.0.0.1:0".into(), ..ApiConfig::default() }
}

impl Server {
    /// Over a memory of its own, without tokens, with a clock that stands still.
    pub async fn start() -> Server {
        Server::over(&at("sqlite::memory:"), config(), Clock::manual(START)).await
    }

    pub async fn over(store: &StoreConfig, config: ApiConfig, clock: Clock) -> Server {
        let store = Store::open(store, clock.clone()).await.unwrap();
        let mirror = Mirror::new(store.clone()).await.unwrap();
        let bound = Bound::new(&config, mirror.tokens().exist(), &clock).unwrap();
        let address = bound.address();
        let stop = Shutdown::new();
        let parts = Parts {
            config,
            store: store.clone(),
            mirror: Arc::clone(&mirror),
            sampler: SamplerConfig::default(),
            local: Arc::new(Default::default),
            rollout: Default::default(),
            driver: Default::default(),
        };
        let (api, writing) = Api::new(parts, stop.clone());
        let tasks = vec![
            tokio::spawn(writing),
            tokio::spawn(Arc::clone(&mirror).follow(stop.clone())),
            tokio::spawn(bound.serve(Arc::clone(&api), stop.clone())),
        ];
        Server { api, store, mirror, address, clock, http: client(), token: None, stop, tasks }
    }

    /// Makes a token; requests use it from now on.
    pub async fn with_token(mut self, scopes: &[Scope]) -> Server {
        self.token = Some(self.make_token(scopes).await);
        self
    }

    pub async fn make_token(&self, scopes: &[Scope]) -> String {
        let new = NewToken { name: "test".into(), scopes: scopes.to_vec(), expires_at: None };
        let random = lipservice::control_plane::api::token_randomness();
        let (token, _) = self.store.create_token(&new, random, &actor()).await.unwrap();
        self.mirror.refresh().await.unwrap();
        token
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), self.url(path));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request("GET", path)).await
    }

    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        answer(self.request(method, path).json(body)).await
    }

    pub async fn stop(self) {
        self.stop.trigger();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.store.close().await;
    }
}

pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let is_problem = headers.get("content-type").is_some_and(|kind| kind == "application/problem+json");
    assert_eq!(is_problem, status >= 400, "{status} {headers:?} {body}");
    if is_problem {
        assert_eq!(body["status"], status, "{body}");
        assert!(body["type"].as_str().unwrap().starts_with("urn:lipservice:problem:"), "{body}");
    }
    assert!(headers.contains_key("x-request-id"));
    Answer { status, headers, body }
}
