//! The meaning of the control plane's settings: `role`, `api`, `store`, `control_plane`.
//!
//! Purpose: refuse what would fail or surprise later.
//! Promises: reports every fault; pure.
//! Never: connects or resolves names.

use super::check::Checker;
use super::error::Problem;
use crate::control_plane::config::{ControlConfig, Role};
use crate::control_plane::insights::Prices;
use crate::control_plane::store::config::engine_of;

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
