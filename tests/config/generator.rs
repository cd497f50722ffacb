//! `generator:` and `control_plane.samples:` as people meet them: every mistake at once, each with its place.

use super::errors;

const REST: &str = "receivers: {otlp: {protocols: {http: }}}\nexporters: {debug: }\n\
    service: {pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}";

#[test]
fn every_mistake_of_the_loop_is_listed_at_once() {
    let text = format!(
        "{REST}
generator:
  interval: 0s
  expires_in: 0s
  least_rate: -0.1
  most_step: 1.5
  max_rules: 0
  replay_records: 10
  warm_up: 2h
  drift: {{unscored_share: 2, budget_error: 0}}
  reservoir: {{max_size: 1kB, span: 0s, records_per_pattern: 0}}
"
    );
    let mut found = errors(&text);
    found.sort();
    assert_eq!(
        found,
        [
            "generator.budget: missing (write a share such as 20%, 50GB/day or $200/month)",
            "generator.drift.budget_error: not above 0 (give a share, such as 0.3)",
            "generator.drift.unscored_share: not within 0 to 1 (give a share, such as 0.2)",
            "generator.expires_in: no time at all (give a duration such as 10s)",
            "generator.expires_in: not longer than interval (give more than interval, so that a policy is renewed before it ends)",
            "generator.interval: no time at all (give a duration such as 10s)",
            "generator.least_rate: not within 0 to 1 (give a share, such as 0.25)",
            "generator.max_rules: not within 1 to 60000 (2000 is usual)",
            "generator.most_step: not within 0 to 1 (give a share, such as 0.25)",
            "generator.replay_records: too few to judge by (give at least 1000)",
            "generator.reservoir.max_size: too small (give at least 1MiB)",
            "generator.reservoir.records_per_pattern: zero (give at least 1)",
            "generator.reservoir.span: no time at all (give a duration such as 10s)",
            "generator.warm_up: longer than reservoir.span (give at most reservoir.span, or no run ever begins)",
            "generator: there is no store here to keep policies in (add api: with role: all, or move it to the process with \
             role: control_plane)",
        ]
    );
}

#[test]
fn what_cannot_be_read_is_listed_at_once_too() {
    let text = format!(
        "{REST}
api: {{}}
generator:
  budget: lots
  service_budgets: {{shop: 10 apples}}
  publish: perhaps
  intervall: 1h
  drift: {{pauze: 1m}}
"
    );
    let found = errors(&text);
    for path in [
        "generator.budget: ",
        "generator.service_budgets.shop: ",
        "generator.publish: ",
        "generator.intervall: unknown key (did you mean \"interval\"?)",
        "generator.drift.pauze: unknown key (did you mean \"pause\"?)",
    ] {
        assert!(found.iter().any(|error| error.starts_with(path)), "{path}: {found:#?}");
    }
}

#[test]
fn where_a_loop_may_stand() {
    let generator = "generator: {budget: 20%}";
    for (role, is_fine) in [
        ("api: {}", true),
        ("role: control_plane", true),
        ("", false),
        ("role: gateway\ncontrol_plane: {endpoint: 'http://control-plane:8000'}", false),
    ] {
        let rest = if role == "role: control_plane" { "" } else { REST };
        let found = errors(&format!("{rest}\n{role}\n{generator}\n"));
        assert_eq!(found.is_empty(), is_fine, "{role}: {found:?}");
        assert!(found.iter().all(|error| error.starts_with("generator: there is no store here")), "{role}: {found:?}");
    }
}

#[test]
fn every_mistake_of_samples_is_listed_at_once() {
    let text = format!(
        "{REST}
role: gateway
control_plane:
  endpoint: 'http://control-plane:8000'
  samples: {{interval: 0s, max_size: 1kB, max_records: 0, reservoir: {{max_size: 1kB}}}}
"
    );
    let mut found = errors(&text);
    found.sort();
    assert_eq!(
        found,
        [
            "control_plane.samples.interval: no time at all (give a duration such as 10s)",
            "control_plane.samples.max_records: zero (give at least 1)",
            "control_plane.samples.max_size: too small (give at least 1MiB)",
            "control_plane.samples.reservoir.max_size: too small (give at least 1MiB)",
        ]
    );
}
