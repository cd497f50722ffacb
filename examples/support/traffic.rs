//! Made-up traffic of a shop's services, labelled: every record knows which message it came from.
//!
//! Purpose: one source of realistic records for the demo (`timeline.rs`), the load generator (`load.rs`) and tests.
//! Promises: the same seed gives the same records on every machine.
//! Never: reads the clock, sends anything, or draws from outside its seed.

use std::fmt::Write;

use super::templates::{SERVICES, TEMPLATES};

/// When and how often a message is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Health checks: many, worth nothing.
    Health,
    /// Debug noise.
    Debug,
    /// What services do all day.
    Routine,
    /// Now and then.
    Warning,
    /// A flood for two seconds out of eight.
    Burst,
    /// Errors while the incident lasts.
    Incident,
    /// Errors that happen once or twice in a run.
    RareError,
    /// News that happens once or twice in a run.
    RareNews,
}

impl Kind {
    /// OTLP severity number.
    pub fn severity(self) -> i32 {
        match self {
            Kind::Debug => 5,
            Kind::Health | Kind::Routine | Kind::Burst | Kind::RareNews => 9,
            Kind::Warning => 13,
            Kind::Incident | Kind::RareError => 17,
        }
    }

    /// OTLP severity text.
    pub fn severity_text(self) -> &'static str {
        match self.severity() {
            5 => "DEBUG",
            13 => "WARN",
            17 => "ERROR",
            _ => "INFO",
        }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

/// One log record and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Index into [`TEMPLATES`].
    pub template: usize,
    /// The message.
    pub body: String,
    /// Ten attributes.
    pub attributes: Vec<(&'static str, Value)>,
    /// Trace and span id; 70 % of records have them.
    pub trace: Option<([u8; 16], [u8; 8])>,
}

/// A small generator of random numbers (SplitMix64: Steele, Lea, Flood 2014), so that runs are equal everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is above zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| (self.bits() >> 56) as u8)
    }
}

impl Event {
    /// A record of a template with fresh values.
    pub fn of(template: usize, random: &mut Random) -> Self {
        let body = fill(TEMPLATES[template].text, random);
        let traced = random.below(10) < 7;
        let trace = traced.then(|| (random.bytes(), random.bytes()));
        Event { template, body, attributes: attributes(random), trace }
    }
}

/// The member whose cumulative weight is the first above `unit` of the whole.
pub fn weighted(members: &[(usize, f64)], unit: f64) -> usize {
    let whole = members.last().map_or(0.0, |(_, weight)| *weight);
    let at = members.partition_point(|(_, weight)| *weight <= unit * whole);
    members.get(at).or(members.last()).map_or(0, |(index, _)| *index)
}

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const PATHS: [&str; 6] =
    ["/api/orders", "/api/cart/items", "/api/search", "/products/shoes", "/account/profile", "/static/app.js"];

fn attributes(random: &mut Random) -> Vec<(&'static str, Value)> {
    let user = random.below(50_000);
    let text = |text: &str| Value::Text(text.to_owned());
    vec![
        ("http.request.method", text(random.pick(&METHODS))),
        ("url.path", text(random.pick(&PATHS))),
        ("http.response.status_code", Value::Int(200 + random.below(3) as i64)),
        ("duration_ms", Value::Float(random.below(900_000) as f64 / 1_000.0)),
        ("user.id", Value::Text(format!("customer-eu-{user:06}"))),
        ("session.id", Value::Text(hex(random, 32))),
        ("thread.name", Value::Text(format!("http-worker-thread-{}", random.below(16)))),
        ("code.function.name", text("shop.http.handlers.RequestHandler.handle")),
        ("feature.beta", Value::Bool(user.is_multiple_of(7))),
        (
            "user_agent.original",
            Value::Text(format!(
                "ShopApp/4.{}.1 (iPhone; iOS 19.1; Scale/3.00; build 8841) {}",
                random.below(30),
                address(random)
            )),
        ),
    ]
}

/// The eight resource attributes of a service.
pub fn resource(service: usize) -> Vec<(&'static str, String)> {
    let name = SERVICES[service];
    vec![
        ("service.name", name.to_owned()),
        ("service.namespace", "shop".to_owned()),
        ("service.version", format!("2.{service}.14")),
        ("deployment.environment.name", "production".to_owned()),
        ("host.name", format!("node-{}.eu-west-1.internal", service % 3)),
        ("k8s.namespace.name", "shop".to_owned()),
        ("k8s.pod.name", format!("{name}-6d4cf56db6-x{service}k2p")),
        ("cloud.region", "eu-west-1".to_owned()),
    ]
}

fn hex(random: &mut Random, digits: usize) -> String {
    format!("{:016x}{:016x}", random.bits(), random.bits())[..digits].to_owned()
}

fn address(random: &mut Random) -> String {
    format!("10.{}.{}.{}", random.below(64), random.below(256), 1 + random.below(254))
}

/// Replaces the placeholders of a message by values.
fn fill(text: &str, random: &mut Random) -> String {
    let mut out = String::with_capacity(text.len() + 48);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        // Writing to a string cannot fail.
        let _ = match name {
            "int" => {
                let digits = 1 + random.below(4) as u32;
                write!(out, "{}", random.below(10_u64.pow(digits)))
            }
            "ms" => write!(out, "{}", 1 + random.below(900)),
            "float" => write!(out, "{:.3}", random.unit() * 100.0),
            "money" => write!(out, "{}.{:02}", random.below(400), random.below(100)),
            "user" => write!(out, "u{:06}", random.below(50_000)),
            "sku" => write!(out, "SKU-{:05}", random.below(20_000)),
            "hex" => write!(out, "{}", hex(random, 12)),
            "ip" => write!(out, "{}", address(random)),
            "host" => write!(out, "node-{}.eu-west-1.internal", random.below(12)),
            "email" => write!(out, "user{}@mail.example", random.below(50_000)),
            "method" => write!(out, "{}", random.pick(&METHODS)),
            "path" => write!(out, "{}", random.pick(&PATHS)),
            _ => {
                let id = hex(random, 32);
                write!(out, "{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..])
            }
        };
        rest = after;
    }
    out.push_str(rest);
    out
}
