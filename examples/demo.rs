//! `make demo`: a shop's services log through the gateway into a stand-in for PostHog; the gateway starts without a policy,
//! writes one for its budget, and the books are shown.
//!
//! Purpose: show on one machine, without an account, how the bill falls, what is kept, what is dropped, and that nothing is
//! lost silently.
//! Promises: loopback only, unless DEMO_LLM_KEY names a language model elsewhere; ends by itself after DEMO_SECONDS (60), or
//! at Ctrl-C, with a report; exit status 0 only when every record is accounted for, every pattern and every error arrived,
//! and (in a run of a minute) a policy made the bill fall.
//! Never: contacts PostHog. The stand-ins are models of what they stand for; see `tests/support`.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use lipservice::control_plane::generator::llm::config::LlmProviderType;
use lipservice::control_plane::generator::llm::provider::transport::SystemTimer;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[path = "support/apps.rs"]
mod apps;
#[path = "support/books.rs"]
mod books;
#[path = "../tests/support/fake_llm/mod.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "its faults are for tests, and so is its way of failing"
)]
mod fake_llm;
#[path = "../tests/support/fake_posthog/mod.rs"]
#[expect(dead_code, unused_imports, reason = "its faults are for tests")]
mod fake_posthog;
#[path = "support/gateway.rs"]
#[expect(dead_code, reason = "what the process uses is for measure.rs")]
mod gateway;
#[path = "support/report.rs"]
mod report;
#[path = "support/scrape.rs"]
mod scrape;
#[path = "support/templates.rs"]
mod templates;
#[path = "support/timeline.rs"]
mod timeline;
#[path = "support/traffic.rs"]
mod traffic;
#[path = "support/writer.rs"]
mod writer;

use apps::Apps;
use books::Books;
use fake_llm::FakeLlm;
use fake_posthog::FakePostHog;
use gateway::{Gateway, Ports, local};
use report::{Paint, Result, Second};
use scrape::Scraper;
use timeline::{Plan, Traffic};
use writer::{Bytes, Scores, Writer};

/// What the environment may change.
struct Settings {
    plan: Plan,
    seed: u64,
    dollars_per_gb: f64,
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> anyhow::Result<T> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().ok().with_context(|| format!("{name}={text}: write a number")),
        _ => Ok(default),
    }
}

impl Settings {
    fn from_environment() -> anyhow::Result<Self> {
        let plan = Plan {
            records_per_second: setting("DEMO_RATE", 1_500_u64)?.clamp(100, 20_000),
            seconds: setting("DEMO_SECONDS", 60_u64)?.max(1),
        };
        Ok(Settings { plan, seed: setting("DEMO_SEED", 1)?, dollars_per_gb: setting("DEMO_PRICE_PER_GB", 0.25)? })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // Already installed is as good: there is only one provider in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings::from_environment()?;
    let paint = Paint { on: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() };
    let mut stop = Stop::listen()?;
    let posthog = FakePostHog::start().await.context("cannot start the stand-in for PostHog")?;
    let kind = LlmProviderType::OpenAi;
    let model = fake_llm::serve::serve(FakeLlm::new(kind, fake_llm::minds::sensible(), Arc::new(SystemTimer))).await?;
    let scores = Scores::choose(model.address, fake_llm::KEY, fake_llm::MODEL);
    let people = tempfile::tempdir().context("cannot make an empty directory for policies")?;
    let gateway = start_gateway(&posthog, &scores, people.path()).await?;
    report::welcome(paint, &gateway, &posthog.url(), &scores.name, settings.plan);
    let mut demo = Demo {
        apps: Apps::new(&format!("http://{}", local(gateway.ports.grpc)))?,
        scraper: Scraper::new(local(gateway.ports.metrics))?,
        writer: Writer::new(local(gateway.ports.api))?,
        traffic: Traffic::new(settings.seed, settings.plan),
        books: Books::default(),
        sent_bytes: 0,
        undelivered: 0,
        posthog,
        paint,
    };
    let start = Instant::now();
    let interrupted = demo.run(&settings, start, &mut stop).await?;
    let elapsed = start.elapsed();
    let result = demo.finish(gateway, elapsed, interrupted).await?;
    report::print(paint, &result, settings.dollars_per_gb);
    Ok(if result.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ctrl-C or SIGTERM, heard from the start: the gateway must never be left behind.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn start_gateway(posthog: &FakePostHog, scores: &Scores, people: &Path) -> anyhow::Result<Gateway> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ports = Ports::usual_or_free()?;
    let people = std::env::var("DEMO_POLICIES").unwrap_or_else(|_| people.display().to_string());
    let mut environment = vec![
        ("DEMO_API_PORT", ports.api.to_string()),
        ("DEMO_GRPC_PORT", ports.grpc.to_string()),
        ("DEMO_HTTP_PORT", ports.http.to_string()),
        ("DEMO_HEALTH_PORT", ports.health.to_string()),
        ("DEMO_METRICS_PORT", ports.metrics.to_string()),
        ("DEMO_POSTHOG_URL", posthog.url()),
        ("DEMO_TOKEN", "phc_demo".to_owned()),
        ("DEMO_POLICIES", people),
    ];
    environment.extend(scores.environment.iter().cloned());
    let log = std::env::temp_dir().join(format!("lipservice-demo-{}.log", std::process::id()));
    Gateway::start(&root.join("config/demo/gateway.yaml"), ports, &environment, log).await
}

struct Demo {
    apps: Apps,
    scraper: Scraper,
    writer: Writer,
    traffic: Traffic,
    books: Books,
    sent_bytes: u64,
    undelivered: u64,
    posthog: FakePostHog,
    paint: Paint,
}

impl Demo {
    /// Logs second after second; true when Ctrl-C ended it early.
    async fn run(&mut self, settings: &Settings, start: Instant, stop: &mut Stop) -> anyhow::Result<bool> {
        for second in 0..settings.plan.seconds {
            let events = self.traffic.second(second);
            self.sent_bytes += books::otlp_bytes(&events);
            events.iter().for_each(|event| self.books.sent(event));
            self.undelivered += self.apps.log(events).await? as u64;
            let totals = self.scraper.totals().await?;
            self.read_rows();
            let now = Second {
                number: second + 1,
                totals,
                bytes_in: self.sent_bytes,
                bytes_out: self.posthog.billed_bytes(),
                incident: self.traffic.incident(second),
            };
            let bytes = Bytes { sent: now.bytes_in, billed: now.bytes_out };
            report::second(self.paint, &now, &self.books, settings.dollars_per_gb);
            if let Some(news) = self.writer.look(bytes).await? {
                report::news(self.paint, &news);
            }
            let next = Duration::from_secs(second + 1).saturating_sub(start.elapsed());
            tokio::select! {
                () = stop.asked() => return Ok(true),
                () = tokio::time::sleep(next) => {}
            }
        }
        Ok(false)
    }

    fn read_rows(&mut self) {
        for row in self.posthog.take_rows() {
            self.books.stored(&row);
        }
    }

    /// Stops the services, then the gateway, and closes the books.
    async fn finish(mut self, gateway: Gateway, elapsed: Duration, interrupted: bool) -> anyhow::Result<Result> {
        let totals = self.scraper.totals().await?;
        let failed = self.scraper.sum("otelcol_exporter_send_failed_log_records").await?.unwrap_or(0.0) as u64;
        self.read_rows();
        let Demo { apps, .. } = self;
        apps.stop().await?;
        let log = gateway.log.clone();
        let status = gateway.stop().await?;
        for row in self.posthog.take_rows() {
            self.books.stored(&row);
        }
        if status.success() {
            // Kept only where there is something to look into.
            let _ = std::fs::remove_file(&log);
        }
        Ok(Result {
            must_fall: !interrupted && elapsed.as_secs() >= 55,
            published: self.writer.published,
            before: self.writer.before,
            books: self.books,
            totals,
            bytes_in: self.sent_bytes,
            failed,
            undelivered: self.undelivered,
            bytes_out: self.posthog.billed_bytes(),
            elapsed,
            interrupted,
            drained: status.success(),
        })
    }
}
