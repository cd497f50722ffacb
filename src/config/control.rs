//! The meaning of the control plane's settings: `role`, `api`, `store`, `cache`, `rollout`, `control_plane`.
//!
//! Purpose: refuse what would fail or surprise later.
//! Promises: reports every fault; pure.
//! Never: connects or resolves names.

use super::check::Checker;
use super::error::Problem;
use crate::control_plane::cache::config::is_redis;
use crate::control_plane::config::{ControlConfig, Role, SamplesConfig};
use crate::control_plane::generator::config::GeneratorConfig;
use crate::control_plane::insights::Prices;
use crate::control_plane::rollout::config::RolloutConfig;
use crate::control_plane::store::config::engine_of;
use crate::data_plane::reservoir::config::ReservoirConfig;
use crate::units::ByteSize;

/// Checks `generator:`.
fn generator(config: &GeneratorConfig, control: &ControlConfig, errors: &mut Vec<Problem>) {
    let mut check = Checker::new("generator", errors);
    let has_budget = config.budget.is_some() || !config.service_budgets.is_empty();
    check.require(has_budget, "budget", "missing", "write a share such as 20%, 50GB/day or $200/month");
    let here = match control.role {
        Role::All => control.api.is_some(),
        Role::ControlPlane => true,
        Role::Gateway => false,
    };
    let hint = "add api: with role: all, or move it to the process with role: control_plane";
    check.require(here, "", "there is no store here to keep policies in", hint);
    check.period("interval", config.interval);
    check.period("expires_in", config.expires_in);
    let hint = "give more than interval, so that a policy is renewed before it ends";
    check.require(config.expires_in > config.interval, "expires_in", "not longer than interval", hint);
    for (key, share) in [("least_rate", config.least_rate), ("most_step", config.most_step)] {
        check.require((0.0..=1.0).contains(&share), key, "not within 0 to 1", "give a share, such as 0.25");
    }
    check.require((1..=60_000).contains(&config.max_rules), "max_rules", "not within 1 to 60000", "2000 is usual");
    check.require(config.replay_records >= 1_000, "replay_records", "too few to judge by", "give at least 1000");
    let drift = &config.drift;
    let share = drift.unscored_share;
    check.require(
        (0.0..=1.0).contains(&share),
        "drift.unscored_share",
        "not within 0 to 1",
        "give a share, such as 0.2",
    );
    check.require(drift.budget_error > 0.0, "drift.budget_error", "not above 0", "give a share, such as 0.3");
    reservoir(&config.reservoir, &mut check.below("reservoir"));
    let hint = "give at most reservoir.span, or no run ever begins";
    check.require(config.warm_up <= config.reservoir.span, "warm_up", "longer than reservoir.span", hint);
}

fn reservoir(config: &ReservoirConfig, check: &mut Checker<'_>) {
    check.require(config.max_size >= ByteSize::mib(1), "max_size", "too small", "give at least 1MiB");
    check.period("span", config.span);
    check.positive("records_per_pattern", config.records_per_pattern.into());
}

/// Checks `control_plane.samples:`.
fn samples(config: &SamplesConfig, check: &mut Checker<'_>) {
    check.period("interval", config.interval);
    check.require(config.max_size >= ByteSize::mib(1), "max_size", "too small", "give at least 1MiB");
    check.positive("max_records", config.max_records as u64);
    reservoir(&config.reservoir, &mut check.below("reservoir"));
}

/// Checks the sections.
pub fn control(config: &ControlConfig, errors: &mut Vec<Problem>) {
    if let Some(api) = &config.api {
        let mut check = Checker::new("api", errors);
        check.address("endpoint", &api.endpoint);
        check.size("max_body_size", api.max_body_size);
        check.size("max_policy_size", api.max_policy_size);
        check.positive("max_connections", api.max_connections as u64);
        check.positive("requests_per_second", api.requests_per_second.into());
        prices(&api.prices, &mut check.below("prices"));
        if let Some(tls) = &api.tls {
            let mut check = check.below("tls");
            check.require(!tls.cert_file.is_empty(), "cert_file", "not set", "name a PEM file");
            check.require(!tls.key_file.is_empty(), "key_file", "not set", "name a PEM file");
        }
    }
    if let Some(settings) = &config.generator {
        generator(settings, config, errors);
    }
    let mut check = Checker::new("store", errors);
    if let Some(url) = &config.store.url {
        let hint = "write sqlite:/path/to/file.db or postgres://user:password@host:5432/database";
        check.require(engine_of(url.expose()).is_some(), "url", "not a database this release knows", hint);
    }
    check.positive("max_connections", config.store.max_connections.into());
    let retention = &config.store.retention;
    let mut check = check.below("retention");
    check.period("fine", retention.fine);
    check.period("batches", retention.batches);
    check.period("audit", retention.audit);
    check.require(retention.medium >= retention.fine, "medium", "less than fine", "give at least fine");
    check.require(retention.coarse >= retention.medium, "coarse", "less than medium", "give at least medium");
    rollout(&config.rollout, errors);
    if let Some(url) = &config.cache.url {
        let mut check = Checker::new("cache", errors);
        let hint = "write redis://:${env:REDIS_PASSWORD}@host:6379/0, or rediss:// for TLS";
        check.require(is_redis(url.expose()), "url", "not a URL of a Redis server", hint);
    }
    if let Some(settings) = &config.follow.samples {
        samples(settings, &mut Checker::new("control_plane.samples", errors));
    }
    if config.role == Role::Gateway {
        let mut check = Checker::new("control_plane", errors);
        check.http_url("endpoint", &config.follow.endpoint);
        check.period("report_interval", config.follow.report_interval);
        if config.api.is_some() {
            let hint = "remove it, or choose role: all";
            errors.push(Problem::new("api", "role: gateway serves no API", hint));
        }
    }
}

/// Prices must rise with bytes, or a budget in money would have no answer.
fn prices(prices: &Prices, check: &mut Checker<'_>) {
    let amounts = [
        ("free_gb", prices.free_gb),
        ("included_days", prices.included_days),
        ("retention_days", prices.retention_days),
        ("retention_per_gb_month", prices.retention_per_gb_month),
    ];
    let is_amount = |amount: f64| amount.is_finite() && amount >= 0.0;
    for (name, amount) in amounts {
        check.require(is_amount(amount), name, "not a number of 0 or more", "give 0 or more");
    }
    check.require(!prices.tiers.is_empty(), "tiers", "no price at all", "give at least {per_gb: 0.25}");
    let mut from = 0.0;
    for (index, tier) in prices.tiers.iter().enumerate() {
        let name = format!("tiers[{index}]");
        let to = tier.up_to_gb.unwrap_or(f64::INFINITY);
        check.require(is_amount(tier.per_gb), &name, "per_gb is not a number of 0 or more", "give 0 or more");
        let is_last = index + 1 == prices.tiers.len();
        check.require(to > from, &name, "does not end above the step before", "order steps by up_to_gb");
        check.require(is_last || to.is_finite(), &name, "only the last step has no end", "give up_to_gb");
        from = to;
    }
}

fn rollout(config: &RolloutConfig, errors: &mut Vec<Problem>) {
    let mut check = Checker::new("rollout", errors);
    check.period("max_wait", config.max_wait);
    check.require(config.ttl >= config.max_wait, "ttl", "less than max_wait", "give at least max_wait");
    let tolerance = "give a part, such as 0.25 for a quarter";
    check.require(config.tolerance > 0.0 && config.tolerance.is_finite(), "tolerance", "not above 0", tolerance);
    let longest = |duration| duration <= config.max_wait;
    let hint = "give at most max_wait";
    for (stage, duration) in [("shadow", config.shadow.duration), ("live", config.live.duration)] {
        check.below(stage).require(longest(duration), "duration", "more than max_wait", hint);
    }
    let mut check = check.below("canary");
    check.require(longest(config.canary.duration), "duration", "more than max_wait", hint);
    let shares = &config.canary.percentages;
    let ascend = shares.windows(2).all(|pair| pair[0] < pair[1]);
    let within = shares.iter().all(|share| *share > 0.0 && *share < 100.0);
    let hint = "give percentages above 0 and below 100, ascending, such as [5, 25, 50]";
    check.require(ascend && within && shares.len() <= 20, "percentages", "no ascending shares", hint);
}
