//! Policies: the vectors of `spec/policy-vectors`, precedence, limits, byte fidelity, hostile input, files.

mod command;
mod fidelity;
mod files;
mod generate;
mod hostile;
mod many;
mod reference;
mod reload;
mod vectors;

use lipservice::clock::UnixNanos;
use lipservice::data_plane::pattern::Grouping;
use lipservice::data_plane::policy::{Candidates, CompiledPolicy, Document, Matches, Resolution};
use lipservice::data_plane::signature::{Signature, Signer};
use lipservice::data_plane::view::{LogIndex, json};
use serde_json::{Value, json};

/// Documents of one text, called `vector`.
fn documents(text: &str) -> Vec<Document> {
    Document::parse("vector", text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Policies from a tree, at the beginning of time.
fn compiled(tree: Value) -> CompiledPolicy {
    CompiledPolicy::compile(&[Document::from_value("vector", tree)], 0, None)
}

/// Policies that must all compile.
fn valid(tree: Value) -> CompiledPolicy {
    let policies = compiled(tree);
    assert_eq!(policies.problems(), []);
    policies
}

/// A request with one record, from a case's record, resource and scope in OTLP JSON.
fn request_of(case: &Value) -> Vec<u8> {
    let or_empty = |name: &str| case.get(name).cloned().unwrap_or_else(|| json!({}));
    let mut scope_logs = json!({"logRecords": [or_empty("record")]});
    let mut resource_logs = json!({});
    let put = |block: &mut Value, name: &str, of: &str| {
        if let Some(value) = case.get(of) {
            block[name] = value.clone();
        }
    };
    put(&mut scope_logs, "scope", "scope");
    put(&mut scope_logs, "schemaUrl", "scope_schema_url");
    put(&mut resource_logs, "resource", "resource");
    put(&mut resource_logs, "schemaUrl", "resource_schema_url");
    resource_logs["scopeLogs"] = json!([scope_logs]);
    let text = json!({"resourceLogs": [resource_logs]}).to_string();
    json::decode(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What the policies say of the only record of a request.
struct Outcome {
    matches: Matches,
    resolution: Resolution,
}

fn evaluate(
    policies: &CompiledPolicy,
    request: &[u8],
    signature: Option<Signature>,
    randomness: u64,
    now: UnixNanos,
) -> Outcome {
    let mut index = LogIndex::default();
    index.read(request).unwrap();
    let record = index.record(request, 0);
    let (resource, scope) = (index.resource_of(request, record.span), index.scope_of(request, record.span));
    let mut signer = Signer::default();
    let grouping = match signature {
        Some(signature) => Grouping::from(signature),
        None => {
            let (signature, template) = (signer.sign(record), signer.template(record));
            Grouping { signature, pattern: policies.catalogue().resolve(signature, &template) }
        }
    };
    let (mut candidates, mut matches) = (Candidates::default(), Matches::default());
    policies.block(resource, scope, now, &mut candidates);
    policies.matches(&candidates, record, resource, scope, grouping, &mut matches);
    let resolution = policies.resolve(&matches, record, resource, scope, randomness, now);
    Outcome { matches, resolution }
}
