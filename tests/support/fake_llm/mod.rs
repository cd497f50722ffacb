//! A stand-in for language models behind the three published APIs, strict about what it is asked.
//!
//! It is a MODEL, written from the vendors' references as of November 2026 and never compared with their servers. Each
//! request is held against the published shape (`shape`): a field that is missing, of the wrong type or unknown, a schema
//! that OpenAI's strict mode would refuse, or headers that do not fit are a 400 here and a failed test. Answers come from
//! a `Mind`; faults are switched on in advance, one for each request. In process it takes part in simulated time
//! (`time`); `serve` puts the same model behind a loopback port.

pub mod minds;
pub mod serve;
pub mod shape;
pub mod time;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use lipservice::control_plane::generator::llm::config::LlmProviderType;
use lipservice::control_plane::generator::llm::provider::BoxFuture;
use lipservice::control_plane::generator::llm::provider::transport::{
    HttpAnswer, HttpRequest, Timer, Transport, TransportFault,
};
use serde_json::{Value, json};

/// The key that it takes.
pub const KEY: &str = "test-key-MARKER7f3a";
/// The model that it has.
pub const MODEL: &str = "fake-1";

/// How one request goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// As asked.
    None,
    /// This status, headers and body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The answer comes after this long.
    Slow(Duration),
    /// No answer ever.
    Hang,
    /// The connection breaks.
    Reset,
    /// 200 with this body.
    Body(String),
    /// 200 with this text as the model's answer.
    Text(String),
    /// The model's answer, cut in the middle, with the API's word for "too long".
    Truncated,
    /// The model declines.
    Refusal,
    /// An answer of this many bytes.
    Huge(usize),
}

/// What a model thinks of a prompt: the lines it was shown, and whether only scores are wanted.
pub type Mind = Arc<dyn Fn(&[Value], bool) -> Value + Send + Sync>;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its body.
    pub body: Value,
    /// The lines in it.
    pub lines: Vec<Value>,
}

struct State {
    faults: VecDeque<Fault>,
    always: Fault,
    /// Requests with more lines than this go otherwise.
    too_much: Option<(usize, Fault)>,
    /// Requests that hold this text are refused.
    refused: Option<String>,
    asked: Vec<Asked>,
    complaints: Vec<String>,
}

/// One fake server.
pub struct FakeLlm {
    kind: LlmProviderType,
    mind: Mind,
    timer: Arc<dyn Timer>,
    state: Mutex<State>,
}

impl FakeLlm {
    /// A server of this API that answers with `mind`.
    pub fn new(kind: LlmProviderType, mind: Mind, timer: Arc<dyn Timer>) -> Arc<FakeLlm> {
        let state = State {
            faults: VecDeque::new(),
            always: Fault::None,
            too_much: None,
            refused: None,
            asked: Vec::new(),
            complaints: Vec::new(),
        };
        Arc::new(FakeLlm { kind, mind, timer, state: Mutex::new(state) })
    }

    /// Whose API it speaks.
    pub fn kind(&self) -> LlmProviderType {
        self.kind
    }

    /// The next requests go like this, one each.
    pub fn then(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// All requests without a fault of their own go like this.
    pub fn always(&self, fault: Fault) {
        self.state.lock().unwrap().always = fault;
    }

    /// Requests with more than `lines` lines go like this.
    pub fn too_much(&self, lines: usize, fault: Fault) {
        self.state.lock().unwrap().too_much = Some((lines, fault));
    }

    /// The model declines whatever holds this text.
    pub fn refuse(&self, text: &str) {
        self.state.lock().unwrap().refused = Some(text.to_owned());
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// What was wrong with requests. Tests assert that this is empty.
    pub fn complaints(&self) -> Vec<String> {
        self.state.lock().unwrap().complaints.clone()
    }

    /// Takes a request: what to answer, after how long. No answer breaks the connection.
    pub fn take(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> (Option<HttpAnswer>, Option<Duration>) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Err(complaint) = shape::check(self.kind, path, headers, &body) {
            self.state.lock().unwrap().complaints.push(complaint.clone());
            return (Some(error(400, &complaint, "invalid_request_error")), None);
        }
        let lines = lines(self.kind, &body);
        let fault = self.fault(&body, &lines);
        let key = shape::key(self.kind, headers);
        if key != KEY {
            let words = format!("Incorrect API key provided: {key}");
            return (Some(error(401, &words, "authentication_error")), None);
        }
        let compact = shape::schema(self.kind, &body)["properties"]["scores"].is_null();
        self.respond(fault, || (self.mind)(&lines, compact).to_string())
    }

    fn fault(&self, body: &Value, lines: &[Value]) -> Fault {
        let mut state = self.state.lock().unwrap();
        state.asked.push(Asked { body: body.clone(), lines: lines.to_vec() });
        if let Some(fault) = state.faults.pop_front() {
            return fault;
        }
        let holds = |text: &String| lines.iter().any(|line| line.to_string().contains(text.as_str()));
        match (&state.refused, &state.too_much) {
            (Some(text), _) if holds(text) => Fault::Refusal,
            (_, Some((most, fault))) if lines.len() > *most => fault.clone(),
            _ => state.always.clone(),
        }
    }

    fn respond(&self, fault: Fault, think: impl Fn() -> String) -> (Option<HttpAnswer>, Option<Duration>) {
        let ok = |text: &str, ending| Some(answer(200, &self.success(text, ending)));
        let raw = |status, body: String| HttpAnswer { status, headers: HeaderMap::new(), body: body.into_bytes() };
        match fault {
            Fault::None => (ok(&think(), Ending::Stop), None),
            Fault::Slow(wait) => (ok(&think(), Ending::Stop), Some(wait)),
            Fault::Hang => (None, Some(Duration::MAX)),
            Fault::Reset => (None, None),
            Fault::Status(status, headers, body) => {
                let mut answer = raw(status, body);
                for (name, value) in headers {
                    answer.headers.insert(name, value.parse().unwrap());
                }
                (Some(answer), None)
            }
            Fault::Body(text) => (Some(raw(200, text)), None),
            Fault::Text(text) => (ok(&text, Ending::Stop), None),
            Fault::Truncated => {
                let text = think();
                (ok(&text[..text.len() / 2], Ending::Length), None)
            }
            Fault::Refusal => (ok("I cannot help with that.", Ending::Refusal), None),
            Fault::Huge(bytes) => (ok(&" ".repeat(bytes), Ending::Stop), None),
        }
    }

    fn success(&self, text: &str, ending: Ending) -> Value {
        match self.kind {
            LlmProviderType::OpenAi => {
                let refusal = (ending == Ending::Refusal).then_some(text);
                let content = refusal.is_none().then_some(text);
                let reason = if ending == Ending::Length { "length" } else { "stop" };
                json!({
                    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL,
                    "choices": [{"index": 0, "finish_reason": reason, "logprobs": null,
                        "message": {"role": "assistant", "content": content, "refusal": refusal}}],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
                })
            }
            LlmProviderType::Ollama => json!({
                "model": MODEL, "created_at": "2026-11-23T00:00:00Z", "done": true,
                "done_reason": if ending == Ending::Length { "length" } else { "stop" },
                "message": {"role": "assistant", "content": text},
                "prompt_eval_count": 100, "eval_count": 20,
            }),
            LlmProviderType::Anthropic => {
                let reason = match ending {
                    Ending::Stop => "tool_use",
                    Ending::Length => "max_tokens",
                    Ending::Refusal => "refusal",
                };
                let input: Option<Value> = serde_json::from_str(text).ok();
                let content = match input.filter(|input| input.is_object() && ending != Ending::Refusal) {
                    Some(input) => {
                        json!([{"type": "tool_use", "id": "toolu_1", "name": "report_worth", "input": input}])
                    }
                    None => json!([{"type": "text", "text": text}]),
                };
                json!({
                    "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": content,
                    "stop_reason": reason, "stop_sequence": null, "usage": {"input_tokens": 100, "output_tokens": 20},
                })
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Stop,
    Length,
    Refusal,
}

fn answer(status: u16, body: &Value) -> HttpAnswer {
    HttpAnswer { status, headers: HeaderMap::new(), body: body.to_string().into_bytes() }
}

fn error(status: u16, words: &str, kind: &str) -> HttpAnswer {
    answer(status, &json!({"type": "error", "error": {"message": words, "type": kind}}))
}

fn user_text(kind: LlmProviderType, body: &Value) -> &str {
    let index = if kind == LlmProviderType::Anthropic { 0 } else { 1 };
    body["messages"][index]["content"].as_str().unwrap_or_default()
}

/// The lines of patterns in a prompt: everything that is a JSON object with an ordinal.
fn lines(kind: LlmProviderType, body: &Value) -> Vec<Value> {
    let objects = user_text(kind, body).lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects.filter(|line| line["n"].is_u64()).collect()
}

impl Transport for FakeLlm {
    fn post(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, TransportFault>> {
        Box::pin(async move {
            let path = request.url.split_once("fake.test").map_or("", |(_, path)| path);
            let (answer, wait) = self.take(path, &request.headers, &request.body);
            match wait {
                Some(Duration::MAX) => std::future::pending::<()>().await,
                Some(wait) => self.timer.sleep(wait).await,
                None => {}
            }
            let limit = lipservice::control_plane::generator::llm::provider::transport::MAX_ANSWER_BYTES;
            match answer {
                Some(answer) if answer.body.len() > limit => Err(TransportFault::Oversized),
                Some(answer) => Ok(answer),
                None => Err(TransportFault::Unreachable("connection reset by peer".into())),
            }
        })
    }
}
