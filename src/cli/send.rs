//! `lipservice send`: a log file, or standard input, as OTLP.
//!
//! Purpose: try the gateway, or PostHog, with any log file at hand.
//! Promises: memory is bounded whatever the input; every line is sent, refused or reported; Retry-After is honoured;
//! Ctrl-C says what was sent. Exit status 0 when everything was taken, 1 when something was not, 130 on Ctrl-C.
//! Never: goes on after an answer that every batch would get (wrong token, wrong path).

mod batch;
mod client;
mod pace;
mod pending;
pub(super) mod severity;
mod source;

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufRead, BufReader};
use url::Url;

use self::batch::{Batches, Recipe, TEXT_LIMIT_BYTES};
use self::client::{Answer, Client, Prepared, Protocol, Target};
use self::pace::{Backoff, Pace};
use self::severity::Severity;
use self::source::Lines;
use super::content::{Content, content_of};
use crate::clock::Clock;
use crate::units::{Period, Secret};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to send: lines of text, OTLP JSON or OTLP protobuf; `-` is standard input.
    #[arg(long, short, value_name = "PATH")]
    file: String,
    /// `service.name` of the records. Needed for text; OTLP brings its own.
    #[arg(long, short, value_name = "NAME", env = "OTEL_SERVICE_NAME")]
    service: Option<String>,
    /// Where to send. `/v1/logs` is appended where the URL has no path.
    #[arg(
        long,
        short,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        default_value = "http://127.0.0.1:4318"
    )]
    endpoint: Url,
    /// How to speak OTLP. gRPC servers usually listen on port 4317.
    #[arg(long, value_enum, default_value = "http/protobuf")]
    protocol: Protocol,
    /// Records per second, minute or hour, such as `500/s`; as fast as the server takes them without it.
    #[arg(long, value_name = "RATE")]
    rate: Option<Pace>,
    /// Records in a request.
    #[arg(long, default_value = "512", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Header to add (for gRPC, metadata). Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// Token, sent as `Authorization: Bearer TOKEN`. The environment variable keeps it out of process lists.
    #[arg(long, env = "LIPSERVICE_SEND_TOKEN", hide_env_values = true, value_parser = secret)]
    token: Option<Secret>,
    /// Compression of requests.
    #[arg(long, value_enum, default_value = "gzip")]
    compression: Compression,
    /// What the file holds.
    #[arg(long, value_enum, default_value = "auto")]
    format: Content,
    /// Severity of every record: trace, debug, info, warn, error, fatal; `auto` guesses it from each line's start.
    #[arg(long, default_value = "auto", value_parser = severity_rule)]
    severity: SeverityRule,
    /// Resource attribute to add to every record of a text file. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    attr: Vec<String>,
    /// Take each record's time from an RFC 3339 time at the line's start instead of now.
    #[arg(long)]
    parse_time: bool,
    /// Time limit for one attempt.
    #[arg(long, default_value = "30s")]
    timeout: Period,
    /// Give up a batch, and the rest, after trying this long.
    #[arg(long, default_value = "5m", value_name = "PERIOD")]
    retry_for: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Compression {
    Gzip,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeverityRule {
    Guess,
    Fixed(Severity),
}

fn severity_rule(text: &str) -> Result<SeverityRule, String> {
    match severity::by_name(text.as_bytes()) {
        _ if text == "auto" => Ok(SeverityRule::Guess),
        Some(severity) => Ok(SeverityRule::Fixed(severity)),
        None => Err("write auto, trace, debug, info, warn, error or fatal".into()),
    }
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// Sends the file.
///
/// # Errors
/// When the arguments cannot be used or the file cannot be read. What a server refuses is not an error but a summary
/// and exit status 1.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Already installed is as good: there is only one provider in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(send(args));
    // A read of standard input cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    result
}

async fn send(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(target(&args)?)?;
    let largest = args.batch as usize;
    let largest = args.rate.map_or(largest, |pace| pace.batch(largest));
    let file = match args.file.as_str() {
        "-" => tokio::fs::File::from_std(std::io::stdin().as_fd().try_clone_to_owned()?.into()),
        path => tokio::fs::File::open(path).await.with_context(|| format!("cannot open {path}"))?,
    };
    let length = file.metadata().await.ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    let mut lines = Lines::new(BufReader::with_capacity(256 << 10, file), TEXT_LIMIT_BYTES);
    let content = match args.format {
        Content::Auto => {
            let head = lines.head().await.with_context(|| format!("cannot read {}", args.file))?;
            content_of(head, Path::new(&args.file))
        }
        given => given,
    };
    let batches = Batches::new(lines, content, recipe(&args, content)?, largest);
    Transfer::new(&args, client, batches, length).run().await
}

fn pair<'a>(option: &str, text: &'a str) -> anyhow::Result<(&'a str, &'a str)> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim(), value.trim())),
        _ => anyhow::bail!("{option} {text:?}: write NAME=VALUE"),
    }
}

fn recipe(args: &Args, content: Content) -> anyhow::Result<Recipe> {
    let service = match (&args.service, content) {
        (Some(service), _) => service,
        (None, Content::OtlpJson | Content::OtlpProto) => "",
        (None, Content::Auto | Content::Text) => {
            anyhow::bail!(
                "--service is missing: name the service whose log this is (OTLP, which needs none, begins otherwise)"
            )
        }
    };
    let mut resource = vec![batch::attribute("service.name", service)];
    for text in &args.attr {
        let (key, value) = pair("--attr", text)?;
        resource.push(batch::attribute(key, value));
    }
    let severity = match args.severity {
        SeverityRule::Guess => None,
        SeverityRule::Fixed(severity) => Some(severity),
    };
    Ok(Recipe { resource, severity, parse_time: args.parse_time, clock: Clock::System })
}

fn target(args: &Args) -> anyhow::Result<Target> {
    if !matches!(args.endpoint.scheme(), "http" | "https") || args.endpoint.host_str().is_none() {
        anyhow::bail!("--endpoint {}: write http://host:port or https://host:port", args.endpoint);
    }
    let mut headers = HeaderMap::new();
    for text in &args.header {
        let (name, value) = pair("--header", text)?;
        let name = HeaderName::try_from(name).with_context(|| format!("--header {name:?} is not a header name"))?;
        let value = HeaderValue::try_from(value)
            .with_context(|| format!("--header {name}: the value has characters a header cannot carry"))?;
        headers.append(name, value);
    }
    if let Some(token) = &args.token {
        headers.extend([client::bearer(token)?]);
    }
    Ok(Target {
        endpoint: args.endpoint.clone(),
        protocol: args.protocol,
        headers,
        gzip: args.compression == Compression::Gzip,
        timeout: args.timeout.0,
    })
}

/// What became of the records.
#[derive(Debug, Default)]
struct Outcome {
    sent: u64,
    refused: u64,
    in_flight: u64,
    requests: u64,
    retried: u64,
    problem: Option<String>,
    stopped: bool,
}

struct Transfer<R> {
    client: Client,
    batches: Batches<R>,
    pace: Option<Pace>,
    backoff: Backoff,
    bar: ProgressBar,
    outcome: Outcome,
    start: Instant,
}

impl<R: AsyncBufRead + Unpin> Transfer<R> {
    fn new(args: &Args, client: Client, batches: Batches<R>, length: Option<u64>) -> Self {
        let backoff = Backoff {
            initial: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            give_up_after: args.retry_for.0,
        };
        let (bar, outcome, start) = (progress_bar(length), Outcome::default(), Instant::now());
        Transfer { client, batches, pace: args.rate, backoff, bar, outcome, start }
    }

    async fn run(mut self) -> anyhow::Result<ExitCode> {
        let interrupted = tokio::select! {
            result = self.send_all() => {
                result?;
                false
            }
            result = tokio::signal::ctrl_c() => {
                result?;
                true
            }
        };
        self.bar.finish_and_clear();
        self.report(interrupted);
        let complete = self.outcome.refused == 0 && self.batches.counts.unreadable == 0 && !self.outcome.stopped;
        Ok(match (interrupted, complete) {
            (true, _) => ExitCode::from(130),
            (false, true) => ExitCode::SUCCESS,
            (false, false) => ExitCode::FAILURE,
        })
    }

    async fn send_all(&mut self) -> anyhow::Result<()> {
        while !self.outcome.stopped
            && let Some(batch) = self.batches.next_batch().await?
        {
            if let Some(pace) = self.pace {
                tokio::time::sleep(pace.wait(self.outcome.sent + self.outcome.refused, self.start.elapsed())).await;
            }
            let prepared = self.client.prepare(batch.request)?;
            self.outcome.in_flight = batch.records;
            self.deliver(&prepared, batch.records).await;
            self.outcome.in_flight = 0;
            self.bar.set_position(self.batches.bytes_read());
            self.bar.set_message(format!("{} records", HumanCount(self.outcome.sent)));
        }
        Ok(())
    }

    async fn deliver(&mut self, request: &Prepared, records: u64) {
        let first_try = Instant::now();
        for retry in 0.. {
            self.outcome.requests += 1;
            let (problem, for_all) = match self.client.attempt(request).await {
                Answer::Accepted { rejected, message } => {
                    let rejected = rejected.min(records);
                    self.outcome.sent += records - rejected;
                    self.outcome.refused += rejected;
                    if !message.is_empty() {
                        self.note(message);
                    }
                    return;
                }
                Answer::Refused { reason, for_all } => (reason, for_all),
                Answer::TryLater { after, reason } => {
                    let wait = self.backoff.wait(retry, first_try.elapsed(), after, rand::random());
                    if let Some(wait) = wait {
                        self.bar.set_message(format!("waiting {:.1} s: {reason}", wait.as_secs_f64()));
                        self.note(format!("{reason} (retried)"));
                        self.outcome.retried += 1;
                        tokio::time::sleep(wait).await;
                        continue;
                    }
                    (format!("gave up after {} tries: {reason}", retry + 1), true)
                }
            };
            self.outcome.refused += records;
            self.outcome.problem = Some(problem);
            self.outcome.stopped = for_all;
            return;
        }
    }

    fn note(&mut self, problem: String) {
        self.outcome.problem.get_or_insert(problem);
    }

    fn report(&self, interrupted: bool) {
        let (outcome, counts) = (&self.outcome, self.batches.counts);
        let seconds = self.start.elapsed().as_secs_f64();
        if let Some(problem) = &outcome.problem {
            eprintln!("lipservice: {problem}");
        }
        if let Some(problem) = &self.batches.first_problem {
            let what = if self.batches.content() == Content::OtlpProto {
                "messages are not OTLP"
            } else {
                "lines are not OTLP JSON"
            };
            eprintln!("lipservice: {} of {} {what}; {problem}", counts.unreadable, counts.lines);
        }
        if counts.cut > 0 {
            eprintln!("lipservice: {} lines were too long and were cut", counts.cut);
        }
        if outcome.stopped {
            let unit = if self.batches.content() == Content::OtlpProto { "message" } else { "line" };
            eprintln!("lipservice: stopped at {unit} {} of the input; the rest was not sent", counts.lines);
        }
        if interrupted {
            eprintln!("lipservice: interrupted; {} records were on their way", outcome.in_flight);
        }
        // A reader that left early is no error.
        let _ = writeln!(
            std::io::stdout(),
            "sent {}, refused {}, retried {} of {} requests, {seconds:.1} s ({:.0} records/s)",
            outcome.sent,
            outcome.refused,
            outcome.retried,
            outcome.requests,
            outcome.sent as f64 / seconds.max(1e-3),
        );
    }
}

fn progress_bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => {
            (ProgressBar::new(length), "{bar:24} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {wide_msg}")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec} {elapsed} {wide_msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(text: &str) -> Args {
        Line::try_parse_from(text.split(' ')).unwrap().args
    }

    #[test]
    fn arguments_are_checked() {
        let headers = target(&parse("send -f - -s a --header x-a=b=c --token phc_1")).unwrap().headers;
        assert_eq!(headers["x-a"], "b=c");
        assert_eq!(headers["authorization"], "Bearer phc_1");
        assert!(headers["authorization"].is_sensitive());
        assert!(!format!("{:?}", parse("send -f - --token phc_1")).contains("phc_1"));
        for (line, says) in [
            ("send -f - -s a --header x", "NAME=VALUE"),
            ("send -f - -s a --header a/b=c", "not a header name"),
            ("send -f - -s a --endpoint ftp://h", "http://host:port"),
        ] {
            assert!(format!("{:#}", target(&parse(line)).unwrap_err()).contains(says), "{line}");
        }
        for (line, says) in [("send -f -", "--service"), ("send -f - -s a --attr x", "--attr")] {
            assert!(format!("{:#}", recipe(&parse(line), Content::Text).unwrap_err()).contains(says), "{line}");
        }
        for content in [Content::OtlpJson, Content::OtlpProto] {
            assert!(recipe(&parse("send -f -"), content).is_ok());
        }
        assert!(Line::try_parse_from("send -f - --severity loud".split(' ')).is_err());
    }
}
