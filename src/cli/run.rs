//! `lipservice run`: the gateway as a process.
//!
//! Purpose: own logs, the runtime, and the signals: SIGHUP reloads, SIGTERM and SIGINT drain, a second one ends at once.
//! Promises: a configuration that does not load leaves the running one as it is, and every error of it is logged.
//! Never: wires parts; that is `gateway`.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config_args::ConfigArgs;
use crate::clock::Clock;
use crate::config::{Loaded, Problem, check_files};
use crate::gateway::{Gateway, Options};
use crate::shutdown::Shutdown;
use crate::telemetry::own_logs::OwnLogs;
use crate::telemetry::process;
use crate::units::Period;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs until a signal says stop.
///
/// # Errors
/// A configuration that does not load, or a gateway that does not start.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    process::mark_start();
    let loaded = load(&args.config).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
        anyhow::anyhow!("the configuration cannot be used:{}", lines.concat())
    })?;
    let rust_log = std::env::var("RUST_LOG").ok();
    let (logs, subscriber) =
        OwnLogs::new(&loaded.config.telemetry.logs, rust_log, Clock::System, Box::new(std::io::stderr()));
    tracing::subscriber::set_global_default(subscriber).context("own logs are already set up")?;
    // Fails only when a provider is installed already, and then TLS works as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One worker for each core: the default of the multi-threaded runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("lipservice")
        .build()
        .context("the runtime does not start")?;
    runtime.block_on(serve(&args.config, loaded, logs))
}

/// The signals that end the process.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(StopSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn serve(args: &ConfigArgs, loaded: Loaded, logs: OwnLogs) -> anyhow::Result<ExitCode> {
    // First, so that a signal during the start is not lost.
    let mut hangup = signal(SignalKind::hangup()).context("signals cannot be caught")?;
    let mut stop = StopSignals::new().context("signals cannot be caught")?;
    let Loaded { config, warnings } = loaded;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    log_warnings(&warnings);
    let reports_stop = Shutdown::new();
    let reports = tokio::spawn(report_held_back(logs.clone(), reports_stop.clone()));
    let mut shutdown_timeout = config.shutdown_timeout;
    let options = Options { clock: Clock::System };
    let mut gateway = Gateway::start(config, options).await.context("the gateway does not start")?;
    tracing::info!("started");
    let name = loop {
        tokio::select! {
            name = stop.recv() => break name,
            _ = hangup.recv() => {}
        }
        reload(args, &mut gateway, &logs, &mut shutdown_timeout).await;
    };
    tracing::info!(signal = name, timeout = %shutdown_timeout, "stopping: sending what was accepted");
    let code = tokio::select! {
        report = gateway.shutdown(shutdown_timeout.0) => {
            tracing::info!(%report, balance = report.balance(), "stopped");
            ExitCode::SUCCESS
        }
        name = stop.recv() => {
            tracing::warn!(signal = name, "ended at once; what was waiting is lost");
            ExitCode::FAILURE
        }
    };
    reports_stop.trigger();
    let _ = reports.await;
    Ok(code)
}

fn load(args: &ConfigArgs) -> Result<Loaded, Vec<Problem>> {
    let loaded = args.load().map_err(|errors| errors.0)?;
    match check_files(&loaded.config) {
        problems if problems.is_empty() => Ok(loaded),
        problems => Err(problems),
    }
}

async fn reload(args: &ConfigArgs, gateway: &mut Gateway, logs: &OwnLogs, shutdown_timeout: &mut Period) {
    let Loaded { config, warnings } = match load(args) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in &problems {
                tracing::error!(target: "lipservice::config", %problem, "configuration error");
            }
            let errors = problems.len();
            tracing::error!(target: "lipservice::config", errors, "not reloaded: the running configuration is kept");
            return;
        }
    };
    log_warnings(&warnings);
    let own_logs = config.telemetry.logs.clone();
    let timeout = config.shutdown_timeout;
    match gateway.reload(config).await {
        Ok(()) => {
            logs.configure(&own_logs);
            *shutdown_timeout = timeout;
            tracing::info!(target: "lipservice::config", "configuration reloaded");
        }
        Err(error) => {
            tracing::error!(target: "lipservice::config", %error, "not reloaded: the running configuration is kept");
        }
    }
}

fn log_warnings(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!(target: "lipservice::config", %warning, "configuration warning");
    }
}

/// Tells about lines that were held back even when no further one comes.
async fn report_held_back(logs: OwnLogs, stop: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(logs.tick()) => logs.report_held_back(),
            () = stop.triggered() => return,
        }
    }
}
