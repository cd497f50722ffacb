//! What the made-up shop's services log: data only.
//!
//! Purpose: messages as real services write them, with values that change, so that a sampler has something to do.
//! Promises: every message belongs to one service and one kind; placeholders are those of `traffic.rs`.
//! Never: holds logic.

use super::traffic::Kind::{self, Burst, Debug, Health, Incident, RareError, RareNews, Routine, Warning};

/// One kind of message of one service.
#[derive(Debug)]
pub struct Template {
    /// Index into [`SERVICES`].
    pub service: usize,
    /// When it is logged.
    pub kind: Kind,
    /// The message with placeholders.
    pub text: &'static str,
}

/// The shop's services.
pub const SERVICES: [&str; 7] =
    ["edge-proxy", "checkout-api", "payments", "auth", "search", "inventory-worker", "notifications"];

const EDGE: usize = 0;
const CHECKOUT: usize = 1;
const PAYMENTS: usize = 2;
const AUTH: usize = 3;
const SEARCH: usize = 4;
const INVENTORY: usize = 5;
const NOTIFY: usize = 6;

const fn t(service: usize, kind: Kind, text: &'static str) -> Template {
    Template { service, kind, text }
}

/// Every message there is. Within a kind, earlier ones are commoner (Zipf).
pub const TEMPLATES: [Template; 62] = [
    t(
        EDGE,
        Health,
        "GET /healthz 200 {ms}ms upstream=self agent=kube-probe/1.31 remote={ip} bytes=2 keepalive=true request_id={uuid}",
    ),
    t(
        CHECKOUT,
        Health,
        "GET /ready 200 in {ms}ms from {ip} (kube-probe/1.31), dependencies ok: postgres redis payments search",
    ),
    t(SEARCH, Health, "GET /healthz 200 in {ms}ms from {ip} (kube-probe/1.31), index generation {int}, shards ok"),
    t(PAYMENTS, Health, "readiness probe from {ip} answered ready in {ms}ms, {int} idle connections, provider link up"),
    t(CHECKOUT, Debug, "cart cache lookup key=cart:{uuid} hit=true age={ms}ms shard={int} node={host}"),
    t(
        SEARCH,
        Debug,
        "query plan for term #{hex}: {int} postings, {int} segments, cost {float}, cached=false, executor pool-{int}",
    ),
    t(
        AUTH,
        Debug,
        "token introspection for session {uuid} took {ms}ms, issuer https://id.shop.example/realms/main, cache miss",
    ),
    t(
        CHECKOUT,
        Debug,
        "acquired connection {hex} from pool checkout-rw in {ms}ms, {int} idle, {int} busy, waiters {int}",
    ),
    t(
        INVENTORY,
        Debug,
        "poll of topic stock-movements partition {int} returned {int} messages up to offset {int} in {ms}ms",
    ),
    t(
        PAYMENTS,
        Debug,
        "signature base string built for provider request {uuid}, {int} bytes, canonical headers sorted",
    ),
    t(
        EDGE,
        Debug,
        "route matched: host=shop.example path={path} cluster=checkout-v2 weight={int} retries=0 hash={hex}",
    ),
    t(NOTIFY, Debug, "template mail/order-confirmed rendered in {ms}ms for locale en-GB, {int} fragments, {int} bytes"),
    t(
        SEARCH,
        Debug,
        "suggest trie walked {int} nodes for prefix of {int} characters, {int} candidates, {float} ms in scoring",
    ),
    t(INVENTORY, Debug, "reservation sweep visited {int} rows, released {int}, next run in {int}s, lock {hex} kept"),
    t(
        EDGE,
        Routine,
        "{method} {path} HTTP/2 200 {int} {ms}ms client={ip} upstream={ip} tls=TLSv1.3 request_id={uuid} ua=Mozilla/5.0",
    ),
    t(
        SEARCH,
        Routine,
        "search completed: {int} results for query #{hex} in {ms}ms (page {int}, filters {int}, user {user})",
    ),
    t(
        CHECKOUT,
        Routine,
        "cart {uuid} updated by user {user}: {int} items, subtotal {money} EUR, voucher none, took {ms}ms",
    ),
    t(AUTH, Routine, "session {uuid} refreshed for user {user} from {ip}, expires in {int}s, second factor remembered"),
    t(
        CHECKOUT,
        Routine,
        "order {int} placed by user {user}: {int} items, total {money} EUR, payment intent {uuid} created",
    ),
    t(
        INVENTORY,
        Routine,
        "stock of sku {sku} changed by -{int} in warehouse {int}, {int} left, movement {uuid} committed",
    ),
    t(
        PAYMENTS,
        Routine,
        "payment {uuid} of {money} EUR authorised by provider adyen in {ms}ms, risk score {int}, 3ds frictionless",
    ),
    t(NOTIFY, Routine, "mail order-confirmed queued for {email}, message id {uuid}, provider accepted in {ms}ms"),
    t(
        AUTH,
        Routine,
        "user {user} signed in from {ip} with method password, device {hex} known, session {uuid} started",
    ),
    t(EDGE, Routine, "{method} {path} HTTP/1.1 304 0 {ms}ms client={ip} cache=hit request_id={uuid} ua=okhttp/4.12"),
    t(
        PAYMENTS,
        Routine,
        "payment {uuid} captured, {money} EUR settled to merchant account {int}, ledger entry {int} written",
    ),
    t(SEARCH, Routine, "indexed product {sku} in {ms}ms, {int} fields, generation {int}, refresh scheduled in {int}s"),
    t(NOTIFY, Routine, "push notification {uuid} delivered to device {hex} of user {user} through fcm in {ms}ms"),
    t(
        INVENTORY,
        Routine,
        "batch {uuid} of {int} stock movements committed in {ms}ms, offsets {int} to {int}, no conflicts",
    ),
    t(CHECKOUT, Routine, "shipping quote for cart {uuid}: {int} options, cheapest {money} EUR by carrier dhl, {ms}ms"),
    t(
        AUTH,
        Routine,
        "api key {hex} of partner {int} accepted for scope orders:read from {ip}, {int} calls left this minute",
    ),
    t(
        PAYMENTS,
        Routine,
        "webhook {uuid} from provider adyen verified and stored, event AUTHORISATION, {int} bytes, {ms}ms",
    ),
    t(EDGE, Routine, "websocket {uuid} of user {user} closed normally after {int}s, {int} frames in, {int} frames out"),
    t(
        NOTIFY,
        Routine,
        "digest for user {user} skipped: nothing new since {int} hours, preference weekly, segment {int}",
    ),
    t(
        CHECKOUT,
        Routine,
        "order {int} handed to fulfilment as job {uuid}, warehouse {int}, promised within {int} hours",
    ),
    t(
        EDGE,
        Warning,
        "upstream checkout-v2 at {ip} slow: {ms}ms over budget of 800ms for {path}, retry budget {int}% left",
    ),
    t(SEARCH, Warning, "segment merge throttled for {ms}ms, {int} segments pending, disk at {int}% of its write limit"),
    t(
        AUTH,
        Warning,
        "failed sign-in for user {user} from {ip}: wrong password, attempt {int} of 5, device {hex} unknown",
    ),
    t(
        INVENTORY,
        Warning,
        "stock of sku {sku} below threshold: {int} left in warehouse {int}, reorder point {int}, supplier {int}",
    ),
    t(CHECKOUT, Warning, "optimistic lock on cart {uuid} lost, retrying in {ms}ms (attempt {int} of 3), writer {host}"),
    t(
        NOTIFY,
        Warning,
        "mail to {email} soft bounced: mailbox full, try {int} of 6, next in {int} minutes, message {uuid}",
    ),
    t(
        SEARCH,
        Burst,
        "cache miss storm: term #{hex} not in tier 1, fetched from {host} in {ms}ms, {int} waiters coalesced",
    ),
    t(
        INVENTORY,
        Burst,
        "import of supplier {int}: row {int} sku {sku} unchanged, skipped (hash {hex}, source feed {uuid})",
    ),
    t(
        PAYMENTS,
        Incident,
        "could not get a connection from pool payments-rw within {ms}ms: {int} of 40 in use, {int} waiting, host {host}",
    ),
    t(
        PAYMENTS,
        Incident,
        "payment {uuid} failed: database unavailable after {int} attempts, {money} EUR not authorised, order {int}",
    ),
    t(
        CHECKOUT,
        Incident,
        "payment service answered 503 for order {int} after {ms}ms, circuit payments half-open, user {user} told to retry",
    ),
    t(
        EDGE,
        Incident,
        "{method} /api/orders HTTP/2 502 {int} {ms}ms client={ip} upstream={ip} reason=upstream_reset request_id={uuid}",
    ),
    t(
        PAYMENTS,
        RareError,
        "ledger entry {int} does not balance: debit {money} EUR, credit {money} EUR, payment {uuid}, halted for review",
    ),
    t(
        AUTH,
        RareError,
        "signing key {hex} not found in key set https://id.shop.example/jwks, token of session {uuid} rejected",
    ),
    t(
        SEARCH,
        RareError,
        "shard {int} of index products-{int} is corrupt: checksum {hex} expected {hex}, falling back to replica {host}",
    ),
    t(
        INVENTORY,
        RareError,
        "negative stock for sku {sku} in warehouse {int}: -{int} after movement {uuid}, consumer paused",
    ),
    t(
        NOTIFY,
        RareError,
        "push certificate of app {int} expired {int} days ago, {int} notifications could not be delivered",
    ),
    t(
        CHECKOUT,
        RareError,
        "panic recovered in handler for {path}: index {int} out of range with length {int}, request {uuid}",
    ),
    t(EDGE, RareError, "TLS handshake with {ip} failed: certificate of upstream {host} expired {int} hours ago"),
    t(
        PAYMENTS,
        RareError,
        "duplicate capture refused by provider for payment {uuid}: already settled as {int}, {money} EUR",
    ),
    t(CHECKOUT, RareNews, "feature flag one-page-checkout switched to {int}% of users by {email}, change {uuid}"),
    t(AUTH, RareNews, "signing key rotated: {hex} is active, {hex} retires in {int} hours, {int} verifiers notified"),
    t(
        SEARCH,
        RareNews,
        "index products-{int} swapped in after rebuild of {int} documents in {int}s, alias moved from generation {int}",
    ),
    t(
        INVENTORY,
        RareNews,
        "consumer group stock rebalanced: {int} members, partitions {int} to {int} assigned to {host}",
    ),
    t(PAYMENTS, RareNews, "schema migration {int} applied in {ms}ms by {host}, {int} statements, checksum {hex}"),
    t(EDGE, RareNews, "configuration {hex} loaded: {int} routes, {int} clusters, drained {int} connections in {ms}ms"),
    t(
        NOTIFY,
        RareNews,
        "provider switched from sendgrid to ses for region {int}, reason quota, {int} messages requeued",
    ),
    t(AUTH, RareNews, "role admin granted to user {user} by {email} from {ip}, ticket {int}, expires in {int} hours"),
];
